// Recordings to try, which the server makes: on the first screen, for people without a recording at hand.

import { make } from "./dom.js";
import { icon } from "./icons.js";
import { headers } from "./send.js";

/// Shows the examples of the server; `add(recordings)` analyses one that is chosen. `page` provides `translator`, `models`, `examples` and `token`.
export const showExamples = (element, page, add) => {
  const { translator, models, examples } = page;
  element.hidden = !examples?.length;
  if (element.hidden) return;
  const classes = new Map(models[0].classes.map(({ code, name }) => [code, name]));
  const button = ({ path, codes }) => {
    const name = codes.length ? translator.list(codes.map((code) => translator.name(code, classes.get(code)))) : translator.text("noise");
    const icons = codes.length ? codes.map((code) => icon(code, classes.get(code))) : [icon("", "")];
    const take = async () => {
      const response = await fetch(path, { headers: headers(page.token) }).catch(() => null);
      if (!response?.ok) return page.announce(translator.text("example_failed"));
      add([{ name: `${translator.text("example_name", { name })}.wav`, blob: await response.blob() }]);
    };
    return make("li", {}, make("button", { type: "button", "data-codes": codes.join(), onclick: take }, ...icons, make("span", {}, name)));
  };
  element.replaceChildren(make("p", { class: "hint" }, translator.text("examples")), make("ul", {}, ...examples.map(button)));
};
