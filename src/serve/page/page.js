// The page: its three sections, the cards of the recordings, and the sliders of the decision rule.

import { about } from "./about.js";
import { Card } from "./card.js";
import { showExamples } from "./examples.js";
import { at, make } from "./dom.js";
import { icon } from "./icons.js";
import { whatScore } from "./meaning.js";
import { Live } from "./live.js";
import { forget, keep, kept } from "./kept.js";
import { Overview } from "./overview.js";
import { durationOf } from "./player.js";
import { Recorder } from "./recorder.js";
import { kindsOf } from "./rule.js";
import { headers, predict, Problem } from "./send.js";
import { Trim } from "./trim.js";
import { chooseLanguage, clock, languages, translator } from "./texts.js";

/// Concurrent uploads: more would only wait in the server.
const UPLOADS = 2;
/// Icons over the button.
const MOST_ICONS = 5;
const SECTIONS = ["listen", "record", "about"];

const sectionOf = () => SECTIONS.find((section) => location.hash === `#${section}`) ?? "listen";
/// The results belong to every section except About.
const updateAnswers = () => (at("answers").hidden = sectionOf() === "about" || page.cards.length === 0);

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
  /// The longest recording of the chosen model, in seconds.
  longest: () => {
    const model = page.modelOf(page.model) ?? page.models?.[0];
    return model?.window === null ? page.limits.clip_seconds : page.limits.seconds;
  },
  /// Seconds of a recording that a model predicts in a second, by the id of the model: for the time that is left.
  speed: new Map(),
  /// Where the page was scrolled to when a recording was added.
  seen: null,
  /// The decision rule that the person chose; null is the model's own.
  choice: { kind: null, cutoff: null, fraction: null },
  cards: [],
  announce: (sentence) => (at("live").textContent = sentence),
  modelOf: (id) => page.models?.find((model) => model.id === id) ?? null,
  classesOf: (id) => page.modelOf(id)?.classes.map(({ code }) => code) ?? null,
  retry: (card) => {
    card.restart();
    queue();
  },
  set: (change) => {
    setChoice(change);
    announceResults();
  },
  remove: (card) => {
    card.abort.abort();
    card.player.close();
    card.recording.keeping?.then(() => forget(card.recording.id));
    const next = card.element.nextElementSibling ?? card.element.previousElementSibling;
    card.element.remove();
    page.cards.splice(page.cards.indexOf(card), 1);
    updateAnswers();
    updateOverview();
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
  live.update();
  trim.update();
  showExamples(at("examples"), page, add);
  page.cards.forEach((card) => card.update());
  updateRule();
  updateOverview();
  updateAbout();
};

const updateAbout = () => {
  const [body, { translator, models, limits }] = [at("about-body"), page];
  if (models) body.replaceChildren(...about(models, limits, translator));
  else body.replaceChildren(make("p", { class: "hint" }, translator.text(page.needsToken ? "token_lead" : page.hasFailed ? "models_failed" : "loading")));
};

const applyTheme = () => {
  const chosen = memory.read("theme");
  const theme = ["light", "dark"].includes(chosen) ? chosen : dark.matches ? "dark" : "light";
  document.documentElement.dataset.theme = page.theme = theme;
  at("theme").value = ["light", "dark"].includes(chosen) ? chosen : "auto";
  page.cards.forEach((card) => card.answer && card.update());
};

const navigate = (moved) => {
  const section = sectionOf();
  for (const other of SECTIONS) {
    at(other).hidden = other !== section;
    const link = document.querySelector(`nav a[href="#${other}"]`);
    if (other === section) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (section !== "record") live.stop();
  updateAnswers();
  at("which").hidden = section === "about" || (page.models?.length ?? 0) < 2;
  // Moves the focus to the section, for screen readers.
  if (moved) at(`${section}-title`).focus({ preventScroll: true });
};

// ---- decision rule

/// The controls follow the first recording with an answer.
const updateRule = () => {
  const { translator, choice } = page;
  const first = page.cards.find((card) => card.answer);
  at("rule").hidden = !first;
  if (!first) return;
  const { answer, decision, overrides } = first;
  const kinds = kindsOf(answer);
  updateKinds(kinds.length > 1 ? kinds : [], decision.kind);
  at("cutoff-row").hidden = decision.kind === "top";
  at("fraction-row").hidden = decision.kind !== "share";
  const isShare = decision.kind === "share";
  const what = whatScore(translator, decision);
  at("cutoff-help").textContent = translator.text(isShare ? "cutoff_help_share" : "cutoff_help_reach", { what });
  const cutoffs = overrides.cutoff === null ? answer.rule.cutoffs : [overrides.cutoff];
  const [least, most] = [Math.min(...cutoffs), Math.max(...cutoffs)];
  const isSame = least === most;
  at("cutoff").value = (least + most) / 2;
  at("fraction").value = decision.fraction;
  at("cutoff-value").textContent = isSame ? translator.percent(least) : translator.text("cutoff_by_class", { from: translator.percent(least), to: translator.percent(most) });
  at("fraction-value").textContent = translator.percent(decision.fraction);
  for (const id of ["cutoff", "fraction"]) at(id).setAttribute("aria-valuetext", at(`${id}-value`).textContent);
  const key = decision.kind === "top" ? "rule_top" : `rule_${decision.kind}${isSame ? "" : "_own"}`;
  at("rule-words").textContent = translator.text(key, { what, cutoff: translator.percent(least), fraction: translator.percent(decision.fraction) });
  at("rule-reset").hidden = Object.values(choice).every((value) => value === null);
};

const updateKinds = (kinds, chosen) => {
  const group = at("kinds");
  group.hidden = kinds.length === 0;
  if (group.dataset.kinds !== kinds.join()) {
    group.dataset.kinds = kinds.join();
    const radio = (kind) => make("label", {}, make("input", { type: "radio", name: "kind", value: kind, onchange: () => page.set({ kind }) }), make("span", {}));
    group.replaceChildren(...kinds.map(radio));
  }
  for (const input of group.querySelectorAll("input")) {
    input.checked = input.value === chosen;
    input.nextSibling.textContent = page.translator.text(`kind_${input.value}`);
  }
};

const setChoice = (change) => {
  Object.assign(page.choice, change);
  page.cards.forEach((card) => card.answer && card.update());
  updateRule();
  updateOverview();
};

/// Announces the result when a slider is released, not at each step.
const announceResults = () => {
  const shown = page.cards.filter((card) => card.answer).slice(0, 3);
  page.announce(shown.map((card) => card.sentence()).join(" "));
};

// ---- recordings

const overview = new Overview(at("overview"), page);
/// With more results they are drawn smaller: the table has the overview.
const MANY = 5;
const updateOverview = () => {
  overview.update();
  at("cards").classList.toggle("is-many", page.cards.length > MANY);
};

/// Brings a result into view unless the person has scrolled elsewhere since the recordings were added.
const reveal = (card) => {
  if (page.cards[0] !== card && at("overview").hidden) return;
  if (page.seen !== null && Math.abs(page.seen - scrollY) > 8) return;
  const target = at("overview").hidden ? card.element : at("overview");
  const { top, bottom } = target.getBoundingClientRect();
  const isBelow = card.answer && at("overview").hidden ? card.result.getBoundingClientRect().bottom > innerHeight : Math.min(bottom, top + 120) > innerHeight;
  // Without an animation the position is known at once.
  if (isBelow) target.scrollIntoView({ block: "start", behavior: "instant" });
  page.seen = scrollY;
};

/// Adds cards; a recording with an `answer` is not sent.
const add = (recordings, answer = null) => {
  const cards = recordings.map((recording) => new Card(recording, page));
  page.cards.unshift(...cards);
  at("cards").prepend(...cards.map((card) => card.element));
  updateAnswers();
  cards.forEach((card) => (answer ? card.showResult(answer, false) : card.update()));
  updateOverview();
  if (!answer) {
    page.seen = null;
    reveal(cards[0]);
  }
  queue();
  return cards;
};

const queue = () => {
  const waiting = page.cards.filter((card) => !card.answer && !card.problem && !card.isSending);
  const free = UPLOADS - page.cards.filter((card) => card.isSending).length;
  waiting.slice(0, Math.max(0, free)).forEach(send);
};

const send = async (card) => {
  card.isSending = true;
  updateOverview();
  try {
    if (card.recording.blob.size > page.limits.bytes) throw new Problem("too_large");
    card.seconds = await durationOf(card.recording.blob);
    // Some formats have only an estimate of their length: the server decides near the limit.
    if (card.seconds > 1.05 * page.longest()) throw new Problem("too_long");
    const answer = await predict(card.recording, page, (...progress) => card.showProgress(...progress), card.abort.signal);
    keepRecording(card, answer);
    page.speed.set(answer.model.id, answer.seconds / Math.max(0.01, answer.timings.total - answer.timings.receive - answer.timings.wait));
    card.showResult(answer, page.cards.filter((other) => other.answer).length === 0 || page.cards[0] === card);
    page.announce(card.sentence());
    updateRule();
    reveal(card);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    card.showProblem(problem);
    if (problem.code === "no_token") at("token-form").hidden = false;
    if (page.cards.includes(card)) page.announce(`${card.recording.name}: ${card.problemSentence()}`);
  } finally {
    card.isSending = false;
    queue();
    updateOverview();
  }
};

const addFiles = (files) => files.length && add([...files].map((file) => ({ name: file.name, blob: file })));

// ---- microphone

const addRecorded = (blob, extension) => {
  const now = new Date();
  const date = `${now.toLocaleDateString("sv")} ${now.toLocaleTimeString("sv").replaceAll(":", ".")}`;
  const [card] = add([{ name: `${page.translator.text("recording_name", { time: date })}.${extension}`, blob, isRecorded: true }]);
  keepRecording(card);
};

/// Keeps a recording of the microphone in the browser, with its answer if there is one.
const keepRecording = async ({ recording }, answer = null) => {
  if (!recording.isRecorded) return;
  // The answer waits for the id of the recording.
  recording.keeping = (recording.keeping ?? Promise.resolve()).then(async () => {
    const { id, name, blob } = recording;
    recording.id = await keep({ ...(id != null && { id }), name, blob, answer, classes: answer && page.classesOf(answer.model.id) });
  });
};

/// Shows the recordings of the microphone that the browser kept.
const restore = async () => {
  // A result in the form of an earlier version is asked for again.
  const isReadable = (answer) => Array.isArray(answer?.instruments) && answer.rule !== undefined;
  for (const { answer, ...recording } of await kept()) add([{ ...recording, isRecorded: true, keeping: Promise.resolve() }], isReadable(answer) ? answer : null);
  updateRule();
};

const trim = new Trim(page, addRecorded, () => page.announce(page.translator.text("record_discarded")));
const recorder = new Recorder(page, (blob, extension, isToTrim) => (isToTrim ? trim.open(blob, extension) : addRecorded(blob, extension)));

const live = new Live(page);
// One use of the microphone at a time.
at("record-button").addEventListener("click", () => live.stop());
at("live-button").addEventListener("click", () => recorder.stop("discard"));

/// The icons over the button: of classes of the model, or a waveform.
const updateArt = () => {
  const drawn = page.models[0].classes.map(({ code, name }) => icon(code, name)).filter(({ dataset }) => dataset.code !== "neutral");
  document.querySelector(".drop-art").replaceChildren(...(drawn.length ? drawn.slice(-MOST_ICONS) : [icon("", "")]));
};

/// Loads the list of models, and asks for the access token if the server requires one.
const loadModels = async () => {
  try {
    const response = await fetch("/api/v1/models", { headers: headers(page.token) });
    page.needsToken = response.status === 401;
    at("token-form").hidden = !page.needsToken;
    at("token-trouble").textContent = response.status === 401 && page.token ? page.translator.text("token_wrong") : "";
    if (!response.ok) throw new Error(String(response.status));
    const body = await response.json();
    Object.assign(page, { models: body.models, examples: body.examples, limits: body.limits, model: body.models.length > 1 ? body.default : null, hasFailed: false });
    at("model").replaceChildren(...body.models.map(({ id }) => make("option", { value: id }, id)));
    at("model").value = body.default;
    updateArt();
    // A model that uses one clip cannot tell when.
    document.querySelector("#listen .lead").dataset.text = body.models.some(({ window }) => window) ? "listen_lead" : "listen_lead_clip";
  } catch {
    page.hasFailed = true;
  }
  updateTexts();
  navigate(false);
  if (!page.hasFailed) page.cards.filter((card) => card.problem?.code === "no_token").forEach(page.retry);
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
  at(id).addEventListener("input", ({ target }) => setChoice({ [id]: Number(target.value) }));
  at(id).addEventListener("change", announceResults);
}
at("rule").addEventListener("submit", (event) => event.preventDefault());
at("rule-reset").addEventListener("click", () => {
  page.set({ kind: null, cutoff: null, fraction: null });
  at("rule").querySelector("input:checked, input[type=range]").focus();
});
at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  page.token = at("token").value.trim();
  memory.write("token", page.token, "sessionStorage");
  loadModels();
});
at("model").addEventListener("change", ({ target }) => {
  page.model = target.value;
  live.stop();
  // The results are those of the chosen model.
  page.cards.filter((card) => card.answer && card.answer.model.id !== page.model).forEach((card) => card.restart());
  updateRule();
  queue();
});
window.addEventListener("hashchange", () => navigate(true));

applyTheme();
updateTexts();
navigate(false);
await loadModels();
await restore();
