// The player of a recording: audio, spectrogram and position.

import { make } from "./dom.js";
import { ticks } from "./lane.js";
import { analyse, framesOf, height, paint } from "./spectrogram.js";
import { clock } from "./texts.js";

/// Pixels between two marks of the time axis.
const TICK = 64;
const MARKS = [100, 500, 2000, 8000];

/// Shorter recordings are predicted at once: their length need not be known before.
const SMALL = 2 ** 18;

/// The length of a recording in seconds; null if the browser cannot read it, or not without decoding it.
export const durationOf = (blob) =>
  new Promise((resolve) => {
    if (blob.size < SMALL) return resolve(null);
    const audio = make("audio", { preload: "metadata" });
    const address = URL.createObjectURL(blob);
    const done = () => {
      resolve(Number.isFinite(audio.duration) ? audio.duration : null);
      audio.removeAttribute("src");
      URL.revokeObjectURL(address);
    };
    for (const kind of ["loadedmetadata", "error"]) audio.addEventListener(kind, done, { once: true });
    setTimeout(done, 1000);
    audio.src = address;
  });

export class Player {
  constructor(blob, page) {
    Object.assign(this, { blob, page, onTime: () => {}, onPicture: () => {}, seconds: 0, picture: null, state: "new" });
    this.audio = make("audio", { preload: "metadata" });
    this.button = make("button", { type: "button", class: "play", onclick: () => this.toggle() });
    this.clock = make("span", { class: "at" });
    this.canvas = make("canvas", { role: "img" });
    this.seek = make("input", { type: "range", min: "0", step: "0.1", value: "0" });
    this.marks = make("span", { class: "marks", "aria-hidden": "true" });
    this.axis = make("div", { class: "lane axis", "aria-hidden": "true" });
    this.trouble = make("p", { class: "hint" });
    this.used = make("span", { class: "used", "aria-hidden": "true", hidden: true });
    this.picturePlace = make("div", { class: "lane picture" }, this.canvas, this.used, this.seek);
    this.top = make("div", { class: "top" }, make("div", { class: "label" }, this.button, this.clock, this.marks), this.picturePlace);
    this.element = make("div", { class: "player" }, this.top, make("div", { class: "top" }, make("span", { class: "label" }), this.axis), this.trouble, this.audio);
    this.seek.addEventListener("input", () => this.goTo(Number(this.seek.value)));
    // The axis has room for other times after a phone is turned.
    new ResizeObserver(() => this.drawAxis()).observe(this.axis);
    for (const kind of ["play", "pause", "ended"]) this.audio.addEventListener(kind, () => this.updatePosition());
    this.audio.addEventListener("play", () => this.animate());
  }

  get hasPicture() {
    return this.picture !== null;
  }

  /// Decodes and draws once, when the card is first opened.
  async open(seconds) {
    if (this.state !== "new") return;
    this.seconds = seconds;
    this.seek.max = seconds;
    this.state = "working";
    this.address = URL.createObjectURL(this.blob);
    this.audio.src = this.address;
    this.update(this.name);
    const frames = await framesOf(this.blob, seconds);
    if (frames.at) {
      const wide = Math.min(frames.most, Math.max(240, Math.round(this.picturePlace.clientWidth * Math.min(devicePixelRatio, 2))));
      this.picture = await analyse(frames.at, wide, () => this.state !== "closed");
    }
    if (this.state === "closed") return;
    this.state = frames.state;
    this.update(this.name);
    this.onPicture();
  }

  close() {
    this.state = "closed";
    this.audio.pause();
    this.audio.removeAttribute("src");
    if (this.address) URL.revokeObjectURL(this.address);
  }

  update(name) {
    this.name = name;
    const { translator, theme } = this.page;
    this.canvas.setAttribute("aria-label", translator.text(theme === "dark" ? "spectrogram" : "spectrogram_light", { name }));
    this.seek.setAttribute("aria-label", translator.text("position"));
    const problem = { coarse: "coarse_picture", long: "long_picture", undecodable: "no_picture" }[this.state];
    this.trouble.hidden = !problem;
    this.trouble.textContent = problem ? translator.text(problem) : "";
    this.top.hidden = this.state === "undecodable";
    this.picturePlace.classList.toggle("is-working", this.state === "working");
    this.picturePlace.classList.toggle("is-bare", this.state === "long");
    this.marks.replaceChildren();
    if (this.picture) {
      paint(this.canvas, this.picture, theme);
      for (const hz of MARKS) {
        const mark = make("i", {}, hz < 1000 ? `${hz} Hz` : `${hz / 1000} kHz`);
        mark.style.bottom = `${100 * height(hz)}%`;
        this.marks.append(mark);
      }
    }
    this.updatePosition();
  }

  /// Marks the part of the recording that the model used.
  setUsed({ start, seconds, share }, whole) {
    this.used.hidden = share > 0.9999;
    this.used.style.left = `${(100 * start) / whole}%`;
    this.used.style.width = `${(100 * seconds) / whole}%`;
  }

  setAxis(isShown, seconds) {
    Object.assign(this, { axisSeconds: seconds });
    this.axis.parentElement.hidden = !isShown;
    this.drawAxis();
  }

  drawAxis() {
    const [seconds, wide] = [this.axisSeconds, this.axis.clientWidth];
    if (!seconds || !wide) return;
    this.axis.replaceChildren(
      ...ticks(seconds, Math.max(2, Math.floor(wide / TICK))).map((time) => {
        const tick = make("i", {}, time % 1 ? `0:0${time}` : clock(time));
        tick.style.left = `${(100 * time) / seconds}%`;
        if (wide * (1 - time / seconds) < TICK / 3) tick.className = "last";
        return tick;
      }),
    );
  }

  toggle() {
    if (!this.audio.paused) return this.audio.pause();
    if (this.at >= this.seconds - 0.05) this.goTo(0);
    this.play();
  }

  playFrom(time) {
    this.goTo(time);
    this.play();
  }

  play() {
    // Only one recording plays at a time.
    for (const other of document.querySelectorAll("audio")) if (other !== this.audio) other.pause();
    this.audio.play().catch(() => {
      this.state = "undecodable";
      this.update(this.name);
    });
  }

  get at() {
    return Math.min(this.audio.currentTime, this.seconds);
  }

  goTo(time) {
    this.audio.currentTime = time;
    this.updatePosition(time);
  }

  animate() {
    if (this.audio.paused || this.state === "closed") return;
    this.updatePosition();
    requestAnimationFrame(() => this.animate());
  }

  updatePosition(at = this.audio.ended ? this.seconds : this.at) {
    const { translator } = this.page;
    const isPlaying = !this.audio.paused && !this.audio.ended;
    this.button.classList.toggle("is-playing", isPlaying);
    this.button.setAttribute("aria-label", translator.text(isPlaying ? "pause" : "play"));
    const times = { at: clock(at), all: clock(this.seconds) };
    this.clock.textContent = `${times.at} / ${times.all}`;
    this.seek.setAttribute("aria-valuetext", translator.text("at_of", times));
    if (document.activeElement !== this.seek || isPlaying) this.seek.value = at;
    const score = this.element.parentElement;
    score?.style.setProperty("--at", this.seconds ? at / this.seconds : 0);
    score?.classList.toggle("is-moved", at > 0);
    this.onTime(at > 0 ? at : null);
  }
}
