// The page: three places, the recordings that were given, and the rule by which instruments are named.

import { about } from "./about.js";
import { Card } from "./card.js";
import { at, make } from "./dom.js";
import { icon } from "./icons.js";
import { Recorder } from "./recorder.js";
import { headers, hear, Problem } from "./send.js";
import { clock, languages, speaker, usual } from "./words.js";

/// Recordings that are sent at once: more would only wait in the server.
const AT_ONCE = 2;
const PLACES = ["listen", "record", "about"];

/// What this browser remembers. It may refuse to.
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
      // Then it is forgotten with the tab.
    }
  },
};

const dark = matchMedia("(prefers-color-scheme: dark)");
const page = {
  speaker: speaker(usual(memory.read("language"), navigator.languages)),
  theme: "light",
  models: null,
  model: null,
  /// Of a server that wants one; kept as long as the tab.
  token: memory.read("token", "sessionStorage"),
  limits: { bytes: Infinity, seconds: 3600, clip_seconds: 600 },
  wish: { cutoff: null, fraction: null },
  cards: [],
  announce: (sentence) => (at("live").textContent = sentence),
  modelOf: (id) => page.models?.find((model) => model.id === id) ?? null,
  classesOf: (id) => page.modelOf(id)?.classes.map(({ code }) => code) ?? null,
  again: (card) => {
    card.restart();
    queue();
  },
  remove: (card) => {
    card.leave.abort();
    card.player.close();
    const next = card.element.nextElementSibling ?? card.element.previousElementSibling;
    card.element.remove();
    page.cards.splice(page.cards.indexOf(card), 1);
    at("answers").hidden = page.cards.length === 0;
    (next?.querySelector("h2") ?? at("main")).focus();
    updateRule();
  },
};

// ---- what is said, and how it looks

const speak = () => {
  const { speaker } = page;
  document.documentElement.lang = speaker.language;
  document.title = `Timbre – ${speaker.say("tagline")}`;
  for (const element of document.querySelectorAll("[data-say]")) element.textContent = speaker.say(element.dataset.say);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", speaker.say(element.dataset.label));
  at("language").value = speaker.language;
  const mib = Number.isFinite(page.limits.bytes) ? Math.floor(page.limits.bytes / 2 ** 20) : 64;
  at("formats").textContent = speaker.say("formats", { mib });
  recorder.update();
  page.cards.forEach((card) => card.update());
  updateRule();
  updateAbout();
};

const updateAbout = () => {
  const [body, { speaker, models, limits }] = [at("about-body"), page];
  if (models) body.replaceChildren(...about(models, limits, speaker));
  else body.replaceChildren(make("p", { class: "hint" }, speaker.say(page.hasFailed ? "models_failed" : "listening")));
};

const colour = () => {
  const wished = memory.read("theme");
  const theme = ["light", "dark"].includes(wished) ? wished : dark.matches ? "dark" : "light";
  document.documentElement.dataset.theme = page.theme = theme;
  at("theme").value = ["light", "dark"].includes(wished) ? wished : "auto";
  page.cards.forEach((card) => card.answer && card.update());
};

const go = (moved) => {
  const place = PLACES.find((place) => location.hash === `#${place}`) ?? "listen";
  for (const other of PLACES) {
    at(other).hidden = other !== place;
    const link = document.querySelector(`nav a[href="#${other}"]`);
    if (other === place) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  at("answers").hidden = place === "about" || page.cards.length === 0;
  at("which").hidden = place === "about" || (page.models?.length ?? 0) < 2;
  // A reader of the screen follows; a link that was clicked keeps nothing to read.
  if (moved) at(`${place}-title`).focus({ preventScroll: true });
};

// ---- the rule

const updateRule = () => {
  const { speaker, wish } = page;
  const heard = page.cards.find((card) => card.answer);
  at("rule").hidden = !heard;
  if (!heard) return;
  const { answer, decision } = heard;
  const inWindows = page.cards.some((card) => card.answer?.timeline);
  at("fraction-row").hidden = !inWindows;
  const cutoffs = answer.rule.cutoffs;
  const same = cutoffs.every((cutoff) => cutoff === cutoffs[0]) ? cutoffs[0] : null;
  const [cutoff, fraction] = [wish.cutoff ?? same ?? 0.5, wish.fraction ?? answer.rule.window_fraction];
  at("cutoff").value = cutoff;
  at("fraction").value = fraction ?? 0.26;
  const isOwn = wish.cutoff === null && wish.fraction === null;
  const isSingle = isOwn && answer.rule.task === "single_label";
  const value = (wished, shown) => (wished === null && (isSingle || shown === null) ? speaker.say("rule_own") : speaker.percent(shown));
  at("cutoff-value").textContent = value(wish.cutoff, wish.cutoff ?? same);
  at("fraction-value").textContent = value(wish.fraction, decision.isVote ? fraction : null);
  for (const id of ["cutoff", "fraction"]) at(id).setAttribute("aria-valuetext", at(`${id}-value`).textContent);
  const key = isSingle ? "rule_single" : `rule_${decision.isVote ? "vote" : "reach"}${wish.cutoff === null && same === null ? "_own" : ""}`;
  at("rule-words").textContent = speaker.say(key, { cutoff: speaker.percent(cutoff), fraction: speaker.percent(decision.fraction ?? fraction ?? 0) });
  at("rule-reset").hidden = isOwn;
};

const wishes = (change) => {
  Object.assign(page.wish, change);
  page.cards.forEach((card) => card.answer && card.update());
  updateRule();
};

/// Told when a slider is let go, not at each of its steps.
const tellRule = () => {
  const heard = page.cards.filter((card) => card.answer).slice(0, 3);
  page.announce(heard.map((card) => card.sentence()).join(" "));
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
  const waiting = page.cards.filter((card) => !card.answer && !card.problem && !card.isSent);
  const free = AT_ONCE - page.cards.filter((card) => card.isSent).length;
  waiting.slice(0, Math.max(0, free)).forEach(send);
};

const send = async (card) => {
  card.isSent = true;
  try {
    if (card.recording.blob.size > page.limits.bytes) throw new Problem("too_large_here");
    const answer = await hear(card.recording, page, (...how) => card.says(...how), card.leave.signal);
    card.shows(answer, page.cards.filter((other) => other.answer).length === 0 || page.cards[0] === card);
    page.announce(card.sentence());
    updateRule();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    card.fails(problem);
    if (page.cards.includes(card)) page.announce(`${card.recording.name}: ${card.state.firstChild.textContent}`);
  } finally {
    card.isSent = false;
    queue();
  }
};

const given = (files) => files.length && add([...files].map((file) => ({ name: file.name, blob: file })));

const recorder = new Recorder(page, (blob, ending) => {
  const time = new Date().toLocaleTimeString(page.speaker.language, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  add([{ name: `${page.speaker.say("recording_name", { time: time.replaceAll(":", ".") })}.${ending}`, blob }]);
});

/// Asks the server what it knows, and the person for the token that it may want.
const meet = async () => {
  try {
    const response = await fetch("/api/v1/models", { headers: headers(page.token) });
    at("token-form").hidden = response.status !== 401;
    at("token-trouble").textContent = response.status === 401 && page.token ? page.speaker.say("token_wrong") : "";
    if (!response.ok) throw new Error(String(response.status));
    const told = await response.json();
    Object.assign(page, { models: told.models, limits: told.limits, model: told.models.length > 1 ? told.default : null, hasFailed: false });
    at("model").replaceChildren(...told.models.map(({ id }) => make("option", { value: id }, id)));
    at("model").value = told.default;
  } catch {
    page.hasFailed = true;
  }
  speak();
  go(false);
};

// ---- what people do

at("file").addEventListener("change", ({ target }) => {
  given(target.files);
  // The same file may be chosen again.
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
  given(event.dataTransfer.files);
});
at("language").addEventListener("change", ({ target }) => {
  memory.write("language", target.value);
  page.speaker = speaker(Object.hasOwn(languages, target.value) ? target.value : "en");
  speak();
});
at("theme").addEventListener("change", ({ target }) => {
  memory.write("theme", target.value);
  colour();
});
dark.addEventListener("change", colour);
for (const id of ["cutoff", "fraction"]) {
  at(id).addEventListener("input", ({ target }) => wishes({ [id]: Number(target.value) }));
  at(id).addEventListener("change", tellRule);
}
at("rule").addEventListener("submit", (event) => event.preventDefault());
at("rule-reset").addEventListener("click", () => {
  wishes({ cutoff: null, fraction: null });
  tellRule();
  at("cutoff").focus();
});
at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  page.token = at("token").value.trim();
  memory.write("token", page.token, "sessionStorage");
  meet();
});
at("model").addEventListener("change", ({ target }) => (page.model = target.value));
window.addEventListener("hashchange", () => go(true));

const art = document.querySelector(".drop-art");
art.append(...["vio", "pia", "gac", "sax", "tru"].map(icon));
colour();
speak();
go(false);
await meet();
