"use strict";

const at = (id) => document.getElementById(id);
const [file, drop, state, answer] = ["file", "drop", "state", "answer"].map(at);
let limit = Infinity;
let asked = 0;

const say = (sentence, kind = "") => {
  state.textContent = sentence;
  state.className = kind;
};

const make = (kind, name, text = "") => {
  const element = document.createElement(kind);
  element.className = name;
  element.textContent = text;
  return element;
};

const bar = ({ code, probability }) => {
  const item = make("li", "");
  const track = make("div", "track");
  const filled = make("div", "bar");
  filled.style.width = `${100 * probability}%`;
  track.append(filled);
  item.append(make("span", "name", code), track, make("span", "share", `${(100 * probability).toFixed(1)} %`));
  return item;
};

const show = (name, { classes, seconds, timings }) => {
  const took = 1000 * (timings.decode + timings.features + timings.model);
  at("bars").replaceChildren(...classes.map(bar));
  at("times").textContent = `A recording of ${seconds.toFixed(2)} s, heard in ${took.toFixed(0)} ms.`;
  answer.hidden = false;
  say(`${name} sounds most like ${classes[0].code}.`, "done");
};

/// Only the answer to the newest recording is shown.
const hear = async (recording) => {
  const mine = ++asked;
  const sayIfNewest = (...what) => mine === asked && say(...what);
  answer.hidden = true;
  if (recording.size > limit) {
    return say(`${recording.name} is larger than ${Math.floor(limit / 2 ** 20)} MiB: choose a shorter part of it.`, "bad");
  }
  say(`Listening to ${recording.name} …`, "waiting");
  const form = new FormData();
  form.append("file", recording);
  try {
    const response = await fetch("/api/v1/predict", { method: "POST", body: form });
    const said = await response.json();
    if (!response.ok) sayIfNewest(`${recording.name}: ${said.detail}`, "bad");
    else if (mine === asked) show(recording.name, said);
  } catch {
    sayIfNewest("The server does not answer. Is it still running?", "bad");
  }
};

file.addEventListener("change", () => {
  if (file.files.length) hear(file.files[0]);
  // The same file may be chosen again.
  file.value = "";
});
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) drop.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  const dropped = event.dataTransfer.files;
  if (dropped.length > 1) say("One recording at a time, please.", "bad");
  else if (dropped.length) hear(dropped[0]);
});

fetch("/api/v1/models").then((response) => response.json()).then(({ models: [model] }) => {
  limit = model.limit_bytes;
  const part = model.clip_seconds === null ? "" : ` It hears ${model.clip_seconds} s of a recording, as it was trained.`;
  at("about").textContent = `${model.model} of ${model.experiment} knows ${model.classes.length} classes.${part}`;
}).catch(() => say("The server does not answer. Is it still running?", "bad"));
