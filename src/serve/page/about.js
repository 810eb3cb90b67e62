// The section About: the models, their scores beside those of baselines, what they confuse, and their limitations.

import { make } from "./dom.js";
import { icon } from "./icons.js";
import { bestBaseline, isSynthetic } from "./meaning.js";

/// Figures of a model: its headline metric and the first of these that the run has.
const [FIGURES, PREFERRED] = [3, ["accuracy", "f1_micro", "f1_macro", "top_3_accuracy", "average_precision_macro"]];
/// More classes are a list of names without icons.
const MOST_ICONS = 24;
const CONFUSIONS = 3;

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
  const names = model.classes.map(({ code, name }) => translator.name(code, name));
  const withIcons = () => make("ul", { class: "known" }, ...model.classes.map(({ code, name }, c) => make("li", {}, make("span", { class: "round" }, icon(code, name)), names[c])));
  const withoutIcons = () => make("p", { class: "names" }, translator.list(names));
  const origin = [`${text("model")} ${model.model}`, model.experiment, model.data && `${text("data")}: ${model.data}`, model.signature && `${text("signature")} ${model.signature.slice(0, 8)}`];
  return make(
    "section",
    { class: "model", "aria-label": model.id },
    make("h2", {}, model.id),
    make("p", { class: "lead" }, text("about_lead", { n: translator.count("classes", model.classes.length) })),
    hasSameClasses ? null : names.length > MOST_ICONS ? withoutIcons() : withIcons(),
    make("p", { class: "hint" }, origin.filter(Boolean).join(" · ")),
    make("h3", {}, text("quality")),
    ...quality(model, translator),
    model.has_training_distance === false ? make("p", { class: "hint" }, text("no_distance")) : "",
  );
};

const quality = (model, translator) => {
  const { text } = translator;
  if (!model.quality.length) {
    const members = model.members.map(({ id, weight }) => `${id} (${translator.number(weight, 2)})`);
    return [make("p", {}, text("quality_none")), members.length ? make("p", { class: "hint" }, text("members", { members: translator.list(members) })) : ""];
  }
  const splits = [...model.quality].sort((a, b) => (a.split === "test" ? -1 : b.split === "test" ? 1 : 0));
  const [best] = splits;
  const splitName = (split) => ({ test: text("split_test"), validation: text("split_validation") })[split] ?? split;
  return [
    make("p", {}, text("quality_lead", { split: splitName(best.split), recordings: translator.count("split_n", best.n) })),
    isSynthetic(model.data) ? make("p", { class: "warn" }, text("quality_demo")) : "",
    model.leaky ? make("p", { class: "warn" }, text("leaky")) : "",
    figures(model, best, translator),
    ...confusions(model, best.split, translator),
    make("details", { class: "measures" }, make("summary", {}, text("measures")), measures(model, splits, splitName, translator)),
  ];
};

/// A class is always among the three most likely of three.
const TOP = { top_3_accuracy: 3, top_5_accuracy: 5 };
const saysSomething = (model) => (name) => !(TOP[name] >= model.classes.length);

/// Three scores, each with its interval and the best trivial baseline.
const figures = (model, { split, metrics }, translator) => {
  const { text } = translator;
  const chosen = [...new Set([model.metric, ...PREFERRED])].filter((name) => metrics[name] != null && saysSomething(model)(name)).slice(0, FIGURES);
  const figure = (name) => {
    const [low, high, baseline] = [metrics[`${name}_low`], metrics[`${name}_high`], bestBaseline(model, split, name)];
    const notes = [
      low != null && high != null && (low === high ? text("no_interval") : text("interval", { low: translator.score(name, low), high: translator.score(name, high) })),
      baseline !== null && text("baseline", { score: translator.score(name, baseline) }),
    ];
    return make("li", {}, make("b", {}, translator.score(name, metrics[name])), make("span", {}, translator.metric(name)), ...notes.filter(Boolean).map((note) => make("small", {}, note)));
  };
  return make("ul", { class: "figures" }, ...chosen.map(figure));
};

const confusions = (model, split, translator) => {
  const { text } = translator;
  const found = (model.confusions ?? []).filter((one) => one.split === split).slice(0, CONFUSIONS);
  const nameOf = (code) => translator.name(code, model.classes.find((one) => one.code === code)?.name ?? code);
  const item = ({ truth, decided, n }) => make("li", {}, text("confusion", { truth: nameOf(truth), decided: nameOf(decided), n: translator.number(n) }));
  return found.length ? [make("h3", {}, text("confusions")), make("ul", { class: "plain-list" }, ...found.map(item))] : [];
};

/// Every metric on every subset.
const measures = (model, splits, splitName, translator) => {
  const { text } = translator;
  const names = [...new Set(splits.flatMap(({ metrics }) => Object.keys(metrics)))].filter((name) => !/_(low|high)$/.test(name) && saysSomething(model)(name));
  const cell = (name, value) => make("td", {}, value == null ? "–" : translator.score(name, value));
  const heads = splits.map(({ split, n }) => make("th", { scope: "col" }, splitName(split), make("small", {}, translator.count("split_n", n))));
  const rows = names.map((name) =>
    make("tr", {}, make("th", { scope: "row" }, translator.metric(name)), ...splits.map(({ metrics }) => cell(name, metrics[name])), cell(name, bestBaseline(model, splits[0].split, name))),
  );
  return make(
    "div",
    { class: "table", tabindex: "0", role: "region", "aria-label": `${text("measures")}: ${model.id}` },
    make(
      "table",
      {},
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, text("metric")), ...heads, make("th", { scope: "col" }, text("baseline_head"), make("small", {}, splitName(splits[0].split))))),
      make("tbody", {}, ...rows),
    ),
  );
};
