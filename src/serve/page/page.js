// The page: its three sections, the cards of the recordings, and the sliders of the decision rule.

import { about } from "./about.js";
import { Card } from "./card.js";
import { at, make } from "./dom.js";
import { icon } from "./icons.js";
import { Recorder } from "./recorder.js";
import { headers, predict, Problem } from "./send.js";
import { chooseLanguage, clock, languages, translator } from "./texts.js";

/// Concurrent uploads: more would only wait in the server.
const UPLOADS = 2;
const SECTIONS = ["listen", "record", "about"];

/// Storage of the browser, which may be unavailable.
const memory = {
  read(key, where = "localStorage") {
    try {
      return window[where].getItem(`timbre.${key}`);
    } catch {
      return null;
    }
  },
  write(key, value, where = "localStorage") {
    try {
      window[where].setItem(`timbre.${key}`, value);
    } catch {
      // The setting lasts as long as the tab.
    }
  },
};

const dark = matchMedia("(prefers-color-scheme: dark)");
const page = {
  translator: translator(chooseLanguage(memory.read("language"), navigator.languages)),
  theme: "light",
  models: null,
  model: null,
  /// The access token, if the server requires one; kept as long as the tab.
  token: memory.read("token", "sessionStorage"),
  limits: { bytes: Infinity, seconds: 3600, clip_seconds: 600 },
  overrides: { cutoff: null, fraction: null },
  cards: [],
  announce: (sentence) => (at("live").textContent = sentence),
  modelOf: (id) => page.models?.find((model) => model.id === id) ?? null,
  classesOf: (id) => page.modelOf(id)?.classes.map(({ code }) => code) ?? null,
  retry: (card) => {
    card.restart();
    queue();
  },
  remove: (card) => {
    card.abort.abort();
    card.player.close();
    const next = card.element.nextElementSibling ?? card.element.previousElementSibling;
    card.element.remove();
    page.cards.splice(page.cards.indexOf(card), 1);
    at("answers").hidden = page.cards.length === 0;
    (next?.querySelector("h2") ?? at("main")).focus();
    updateRule();
  },
};

// ---- language, theme, navigation

const updateTexts = () => {
  const { translator } = page;
  document.documentElement.lang = translator.language;
  document.title = `Timbre – ${translator.text("tagline")}`;
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = translator.text(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", translator.text(element.dataset.label));
  at("language").value = translator.language;
  const mib = Number.isFinite(page.limits.bytes) ? Math.floor(page.limits.bytes / 2 ** 20) : 64;
  at("formats").textContent = translator.text("formats", { mib });
  recorder.update();
  page.cards.forEach((card) => card.update());
  updateRule();
  updateAbout();
};

const updateAbout = () => {
  const [body, { translator, models, limits }] = [at("about-body"), page];
  if (models) body.replaceChildren(...about(models, limits, translator));
  else body.replaceChildren(make("p", { class: "hint" }, translator.text(page.hasFailed ? "models_failed" : "loading")));
};

const applyTheme = () => {
  const chosen = memory.read("theme");
  const theme = ["light", "dark"].includes(chosen) ? chosen : dark.matches ? "dark" : "light";
  document.documentElement.dataset.theme = page.theme = theme;
  at("theme").value = ["light", "dark"].includes(chosen) ? chosen : "auto";
  page.cards.forEach((card) => card.answer && card.update());
};

const navigate = (moved) => {
  const section = SECTIONS.find((section) => location.hash === `#${section}`) ?? "listen";
  for (const other of SECTIONS) {
    at(other).hidden = other !== section;
    const link = document.querySelector(`nav a[href="#${other}"]`);
    if (other === section) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  at("answers").hidden = section === "about" || page.cards.length === 0;
  at("which").hidden = section === "about" || (page.models?.length ?? 0) < 2;
  // Moves the focus to the section, for screen readers.
  if (moved) at(`${section}-title`).focus({ preventScroll: true });
};

// ---- decision rule

const updateRule = () => {
  const { translator, overrides } = page;
  const first = page.cards.find((card) => card.answer);
  at("rule").hidden = !first;
  if (!first) return;
  const { answer, decision } = first;
  const hasWindows = page.cards.some((card) => card.answer?.timeline);
  at("fraction-row").hidden = !hasWindows;
  const cutoffs = answer.rule.cutoffs;
  const same = cutoffs.every((cutoff) => cutoff === cutoffs[0]) ? cutoffs[0] : null;
  const [cutoff, fraction] = [overrides.cutoff ?? same ?? 0.5, overrides.fraction ?? answer.rule.window_fraction];
  at("cutoff").value = cutoff;
  at("fraction").value = fraction ?? 0.26;
  const isDefault = overrides.cutoff === null && overrides.fraction === null;
  const isSingle = isDefault && answer.rule.task === "single_label";
  const value = (override, shown) => (override === null && (isSingle || shown === null) ? translator.text("rule_own") : translator.percent(shown));
  at("cutoff-value").textContent = value(overrides.cutoff, overrides.cutoff ?? same);
  at("fraction-value").textContent = value(overrides.fraction, decision.isVote ? fraction : null);
  for (const id of ["cutoff", "fraction"]) at(id).setAttribute("aria-valuetext", at(`${id}-value`).textContent);
  const key = isSingle ? "rule_single" : `rule_${decision.isVote ? "vote" : "reach"}${overrides.cutoff === null && same === null ? "_own" : ""}`;
  at("rule-words").textContent = translator.text(key, { cutoff: translator.percent(cutoff), fraction: translator.percent(decision.fraction ?? fraction ?? 0) });
  at("rule-reset").hidden = isDefault;
};

const setOverrides = (change) => {
  Object.assign(page.overrides, change);
  page.cards.forEach((card) => card.answer && card.update());
  updateRule();
};

/// Announces the result when a slider is released, not at each step.
const announceResults = () => {
  const shown = page.cards.filter((card) => card.answer).slice(0, 3);
  page.announce(shown.map((card) => card.sentence()).join(" "));
};

// ---- recordings

const add = (recordings) => {
  const cards = recordings.map((recording) => new Card(recording, page));
  page.cards.unshift(...cards);
  at("cards").prepend(...cards.map((card) => card.element));
  at("answers").hidden = false;
  cards.forEach((card) => card.update());
  queue();
};

const queue = () => {
  const waiting = page.cards.filter((card) => !card.answer && !card.problem && !card.isSending);
  const free = UPLOADS - page.cards.filter((card) => card.isSending).length;
  waiting.slice(0, Math.max(0, free)).forEach(send);
};

const send = async (card) => {
  card.isSending = true;
  try {
    if (card.recording.blob.size > page.limits.bytes) throw new Problem("too_large_here");
    const answer = await predict(card.recording, page, (...progress) => card.showProgress(...progress), card.abort.signal);
    card.showResult(answer, page.cards.filter((other) => other.answer).length === 0 || page.cards[0] === card);
    page.announce(card.sentence());
    updateRule();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    card.showProblem(problem);
    if (page.cards.includes(card)) page.announce(`${card.recording.name}: ${card.state.firstChild.textContent}`);
  } finally {
    card.isSending = false;
    queue();
  }
};

const addFiles = (files) => files.length && add([...files].map((file) => ({ name: file.name, blob: file })));

const recorder = new Recorder(page, (blob, ending) => {
  const time = new Date().toLocaleTimeString(page.translator.language, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  add([{ name: `${page.translator.text("recording_name", { time: time.replaceAll(":", ".") })}.${ending}`, blob }]);
});

/// Loads the list of models, and asks for the access token if the server requires one.
const loadModels = async () => {
  try {
    const response = await fetch("/api/v1/models", { headers: headers(page.token) });
    at("token-form").hidden = response.status !== 401;
    at("token-trouble").textContent = response.status === 401 && page.token ? page.translator.text("token_wrong") : "";
    if (!response.ok) throw new Error(String(response.status));
    const body = await response.json();
    Object.assign(page, { models: body.models, limits: body.limits, model: body.models.length > 1 ? body.default : null, hasFailed: false });
    at("model").replaceChildren(...body.models.map(({ id }) => make("option", { value: id }, id)));
    at("model").value = body.default;
  } catch {
    page.hasFailed = true;
  }
  updateTexts();
  navigate(false);
};

// ---- events

at("file").addEventListener("change", ({ target }) => {
  addFiles(target.files);
  // Choosing the same file again must fire `change`.
  target.value = "";
});
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.add("is-over");
  });
}
document.addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("is-over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("is-over");
  if (location.hash === "#about") location.hash = "#listen";
  addFiles(event.dataTransfer.files);
});
at("language").addEventListener("change", ({ target }) => {
  memory.write("language", target.value);
  page.translator = translator(Object.hasOwn(languages, target.value) ? target.value : "en");
  updateTexts();
});
at("theme").addEventListener("change", ({ target }) => {
  memory.write("theme", target.value);
  applyTheme();
});
dark.addEventListener("change", applyTheme);
for (const id of ["cutoff", "fraction"]) {
  at(id).addEventListener("input", ({ target }) => setOverrides({ [id]: Number(target.value) }));
  at(id).addEventListener("change", announceResults);
}
at("rule").addEventListener("submit", (event) => event.preventDefault());
at("rule-reset").addEventListener("click", () => {
  setOverrides({ cutoff: null, fraction: null });
  announceResults();
  at("cutoff").focus();
});
at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  page.token = at("token").value.trim();
  memory.write("token", page.token, "sessionStorage");
  loadModels();
});
at("model").addEventListener("change", ({ target }) => (page.model = target.value));
window.addEventListener("hashchange", () => navigate(true));

const art = document.querySelector(".drop-art");
art.append(...["vio", "pia", "gac", "sax", "tru"].map(icon));
applyTheme();
updateTexts();
navigate(false);
await loadModels();
