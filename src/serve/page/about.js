// The section About: the models, their scores and their limitations.

import { make } from "./dom.js";
import { icon } from "./icons.js";

/// Metrics that are shares, shown in per cent; the others have their own scale.
const isShare = (name) => !["log_loss", "brier", "matthews", "cohen_kappa", "calibration_error"].includes(name);

const range = (metrics, name) => [metrics[`${name}_low`], metrics[`${name}_high`]];

export const about = (models, limits, translator) => {
  const { text } = translator;
  const mib = Math.floor(limits.bytes / 2 ** 20);
  const windows = models.map((model) => model.window).find(Boolean);
  const items = [
    text("limit_known"),
    text("limit_confidence"),
    windows && text("limit_window", { window: translator.seconds(windows.seconds), hop: translator.seconds(windows.hop) }),
    text("limit_size", { mib, minutes: translator.number((windows ? limits.seconds : limits.clip_seconds) / 60) }),
    text("limit_kept"),
  ];
  const [before, after] = text("api").split("{link}");
  return [
    // Models with the classes of the first one do not repeat them.
    ...models.map((model, n) => modelSection(model, translator, n > 0 && codes(model) === codes(models[0]))),
    make("h2", {}, text("limits")),
    make("ul", { class: "plain-list" }, ...items.filter(Boolean).map((item) => make("li", {}, item))),
    make("h2", {}, text("licence")),
    make("p", {}, text("licence_text")),
    make("p", { class: "hint" }, before, make("a", { href: "/openapi.json" }, "openapi.json"), after),
  ];
};

const codes = ({ classes }) => classes.map(({ code }) => code).join();

const modelSection = (model, translator, hasSameClasses) => {
  const { text } = translator;
  const classes = model.classes.map(({ code, name }) => make("li", {}, make("span", { class: "round" }, icon(code, name)), translator.name(code, name)));
  const origin = [`${text("model")} ${model.model}`, model.experiment, model.data && `${text("data")}: ${model.data}`, model.signature && `${text("signature")} ${model.signature.slice(0, 8)}`];
  return make(
    "section",
    { class: "model", "aria-label": model.id },
    make("p", { class: "lead" }, text("about_lead", { n: translator.count("classes", model.classes.length) })),
    hasSameClasses ? null : make("ul", { class: "known" }, ...classes),
    make("p", { class: "hint" }, origin.filter(Boolean).join(" · ")),
    make("h2", {}, text("quality")),
    ...quality(model, translator),
  );
};

const quality = (model, translator) => {
  const { text } = translator;
  if (!model.quality.length) {
    const members = model.members.map(({ id, weight }) => `${id} (${translator.number(weight, 2)})`);
    return [make("p", {}, text("quality_none")), members.length ? make("p", { class: "hint" }, text("members", { members: translator.list(members) })) : ""];
  }
  const value = (metrics, name) => {
    const found = metrics[name];
    if (found === null || found === undefined) return "–";
    return isShare(name) ? `${translator.number(100 * found, 1)} %` : translator.number(found, 3);
  };
  const splits = [...model.quality].sort((a, b) => (a.split === "test" ? -1 : b.split === "test" ? 1 : 0));
  const [best] = splits;
  const [low, high] = range(best.metrics, model.metric);
  const interval = low != null && high != null ? ` (95 %: ${translator.number(100 * low, 0)}–${translator.number(100 * high, 0)} %)` : "";
  const names = [...new Set(splits.flatMap(({ metrics }) => Object.keys(metrics)))].filter((name) => !/_(low|high)$/.test(name));
  const splitName = (split) => ({ test: text("split_test"), validation: text("split_validation") })[split] ?? split;
  return [
    make("p", {}, text("quality_lead")),
    make("p", { class: "figure" }, make("b", {}, value(best.metrics, model.metric)), make("span", {}, `${translator.metric(model.metric)}${interval}, ${splitName(best.split)}`)),
    model.data === "demo" ? make("p", { class: "warn" }, text("quality_demo")) : "",
    make(
      "div",
      { class: "table", tabindex: "0", role: "region", "aria-label": text("quality") },
      make(
        "table",
        {},
        make("thead", {}, make("tr", {}, make("th", { scope: "col" }, text("metric")), ...splits.map(({ split, n }) => make("th", { scope: "col" }, splitName(split), make("small", {}, translator.count("split_n", n)))))),
        make("tbody", {}, ...names.map((name) => make("tr", {}, make("th", { scope: "row" }, translator.metric(name)), ...splits.map(({ metrics }) => make("td", {}, value(metrics, name)))))),
      ),
    ),
  ];
};
