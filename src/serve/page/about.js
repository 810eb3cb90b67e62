// What the server knows, how good that is, and what it cannot.

import { make } from "./dom.js";
import { icon } from "./icons.js";

/// Measures that are shares; others are numbers of their own scale.
const isShare = (name) => !["log_loss", "matthews", "calibration_error"].includes(name);

const range = (metrics, name) => [metrics[`${name}_low`], metrics[`${name}_high`]];

export const about = (models, limits, speaker) => {
  const { say } = speaker;
  const mib = Math.floor(limits.bytes / 2 ** 20);
  const windows = models.map((model) => model.window).find(Boolean);
  const items = [
    say("limit_known"),
    say("limit_confidence"),
    windows && say("limit_window", { window: speaker.seconds(windows.seconds), hop: speaker.seconds(windows.hop) }),
    say("limit_size", { mib, minutes: speaker.number((windows ? limits.seconds : limits.clip_seconds) / 60) }),
    say("limit_kept"),
  ];
  const [before, after] = say("api").split("{link}");
  return [
    // What all of them know is drawn once.
    ...models.map((model, n) => ofModel(model, speaker, n > 0 && codes(model) === codes(models[0]))),
    make("h2", {}, say("limits")),
    make("ul", { class: "plain-list" }, ...items.filter(Boolean).map((item) => make("li", {}, item))),
    make("h2", {}, say("licence")),
    make("p", {}, say("licence_text")),
    make("p", { class: "hint" }, before, make("a", { href: "/openapi.json" }, "openapi.json"), after),
  ];
};

const codes = ({ classes }) => classes.map(({ code }) => code).join();

const ofModel = (model, speaker, isKnown) => {
  const { say } = speaker;
  const known = model.classes.map(({ code, name }) => make("li", {}, make("span", { class: "round" }, icon(code)), speaker.name(code, name)));
  const where = [`${say("model")} ${model.model}`, model.experiment, model.data && `${say("data")}: ${model.data}`, model.signature && `${say("signature")} ${model.signature.slice(0, 8)}`];
  return make(
    "section",
    { class: "model", "aria-label": model.id },
    make("p", { class: "lead" }, say("about_lead", { n: speaker.count("instruments", model.classes.length) })),
    isKnown ? null : make("ul", { class: "known" }, ...known),
    make("p", { class: "hint" }, where.filter(Boolean).join(" · ")),
    make("h2", {}, say("quality")),
    ...quality(model, speaker),
  );
};

const quality = (model, speaker) => {
  const { say } = speaker;
  if (!model.quality.length) {
    const members = model.members.map(({ id, weight }) => `${id} (${speaker.number(weight, 2)})`);
    return [make("p", {}, say("quality_none")), members.length ? make("p", { class: "hint" }, say("members", { members: speaker.list(members) })) : ""];
  }
  const value = (metrics, name) => {
    const found = metrics[name];
    if (found === null || found === undefined) return "–";
    return isShare(name) ? `${speaker.number(100 * found, 1)} %` : speaker.number(found, 3);
  };
  const splits = [...model.quality].sort((a, b) => (a.split === "test" ? -1 : b.split === "test" ? 1 : 0));
  const [best] = splits;
  const [low, high] = range(best.metrics, model.metric);
  const interval = low != null && high != null ? ` (95 %: ${speaker.number(100 * low, 0)}–${speaker.number(100 * high, 0)} %)` : "";
  const names = [...new Set(splits.flatMap(({ metrics }) => Object.keys(metrics)))].filter((name) => !/_(low|high)$/.test(name));
  const splitName = (split) => ({ test: say("split_test"), validation: say("split_validation") })[split] ?? split;
  return [
    make("p", {}, say("quality_lead")),
    make("p", { class: "figure" }, make("b", {}, value(best.metrics, model.metric)), make("span", {}, `${speaker.metric(model.metric)}${interval}, ${splitName(best.split)}`)),
    model.data === "demo" ? make("p", { class: "warn" }, say("quality_demo")) : "",
    make(
      "div",
      { class: "table", tabindex: "0", role: "region", "aria-label": say("quality") },
      make(
        "table",
        {},
        make("thead", {}, make("tr", {}, make("th", { scope: "col" }, say("metric")), ...splits.map(({ split, n }) => make("th", { scope: "col" }, splitName(split), make("small", {}, speaker.count("split_n", n)))))),
        make("tbody", {}, ...names.map((name) => make("tr", {}, make("th", { scope: "row" }, speaker.metric(name)), ...splits.map(({ metrics }) => make("td", {}, value(metrics, name)))))),
      ),
    ),
  ];
};
