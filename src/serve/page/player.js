// The player of a recording: audio, spectrogram and position.

import { make } from "./dom.js";
import { ticks } from "./lane.js";
import { analyse, framesOf, height, paint } from "./spectrogram.js";
import { clock } from "./texts.js";
import { View } from "./view.js";

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
    Object.assign(this, { blob, page, onTime: () => {}, onPicture: () => {}, onView: () => {}, view: new View(0), picture: null, painted: null, state: "new" });
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
    this.zoomIn = make("button", { type: "button", onclick: () => this.zoom(0.5) }, "+");
    this.zoomOut = make("button", { type: "button", onclick: () => this.zoom(2) }, "−");
    this.pan = make("input", { type: "range", min: "0", step: "any" });
    this.zoomPlace = make("div", { class: "zoom", role: "group" }, this.zoomOut, this.zoomIn, this.pan);
    this.element = make("div", { class: "player" }, this.top, make("div", { class: "top" }, make("span", { class: "label" }), this.axis), this.trouble, this.zoomPlace, this.audio);
    this.pan.addEventListener("input", () => this.changeView(() => this.view.move(Number(this.pan.value))));
    this.seek.addEventListener("input", () => this.goTo(Number(this.seek.value)));
    // The axis has room for other times after a phone is turned.
    new ResizeObserver(() => this.drawAxis()).observe(this.axis);
    for (const kind of ["play", "pause", "ended"]) this.audio.addEventListener(kind, () => this.updatePosition());
    this.audio.addEventListener("play", () => this.animate());
  }

  get hasPicture() {
    return this.picture !== null;
  }

  get seconds() {
    return this.view.seconds;
  }

  /// Decodes and draws once, when the card is first opened.
  async open() {
    if (this.state !== "new") return;
    this.state = "working";
    this.address = URL.createObjectURL(this.blob);
    this.audio.src = this.address;
    this.update(this.name);
    const frames = await framesOf(this.blob, this.seconds);
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
    // The decision rule changes often and leaves the picture as it is.
    if (this.picture && this.painted !== theme) {
      this.painted = theme;
      paint(this.canvas, this.picture, theme);
      this.marks.replaceChildren(
        ...MARKS.map((hz) => {
          const mark = make("i", {}, hz < 1000 ? `${hz} Hz` : `${hz / 1000} kHz`);
          mark.style.bottom = `${100 * height(hz)}%`;
          return mark;
        }),
      );
    }
    this.updatePosition();
  }

  /// The length of the recording; shows all of it.
  setSeconds(seconds) {
    if (this.view.seconds !== seconds) this.view = new View(seconds);
  }

  /// `used` is the part of the recording that the model used.
  setAxis(isShown, used) {
    this.part = used;
    this.axis.parentElement.hidden = !isShown;
    this.drawView();
  }

  zoom(factor) {
    // Around the position of playback, if that is shown.
    const { view, at } = this;
    this.changeView(() => view.zoom(factor, at > 0 && view.contains(at) ? at : (view.start + view.end) / 2));
  }

  /// Shows a time that is outside of the view.
  show(time) {
    this.changeView(() => this.view.move(time - this.view.length / 10));
  }

  changeView(change) {
    change();
    this.drawView();
    this.onView();
    this.updatePosition();
  }

  drawView() {
    const { view, part, page: { translator } } = this;
    const [seconds, length] = [view.seconds, view.length];
    if (!seconds) return;
    this.canvas.style.width = `${(100 * seconds) / length}%`;
    this.canvas.style.marginLeft = `${(-100 * view.start) / length}%`;
    this.used.hidden = part.share > 0.9999;
    this.used.style.left = `${100 * view.share(part.start)}%`;
    this.used.style.width = `${(100 * part.seconds) / length}%`;
    [this.seek.min, this.seek.max] = [view.start, view.end];
    this.zoomPlace.hidden = !view.canZoom || this.axis.parentElement.hidden;
    this.zoomPlace.setAttribute("aria-label", translator.text("zoom"));
    this.zoomIn.setAttribute("aria-label", translator.text("zoom_in"));
    this.zoomOut.setAttribute("aria-label", translator.text("zoom_out"));
    this.zoomOut.setAttribute("aria-disabled", String(view.isWhole));
    this.pan.hidden = view.isWhole;
    this.pan.max = seconds - length;
    this.pan.value = view.start;
    this.pan.setAttribute("aria-label", translator.text("zoom_part"));
    this.pan.setAttribute("aria-valuetext", translator.text("from_to", { start: clock(view.start), end: clock(view.end) }));
    this.drawAxis();
  }

  drawAxis() {
    const [{ view }, wide] = [this, this.axis.clientWidth];
    if (!view.seconds || !wide) return;
    this.axis.replaceChildren(
      ...ticks(view, Math.max(2, Math.floor(wide / TICK))).map((time) => {
        const tick = make("i", {}, time % 1 ? `${clock(Math.floor(time))}.5` : clock(time));
        tick.style.left = `${100 * view.share(time)}%`;
        tick.className = wide * view.share(time) < TICK / 3 ? "first" : wide * (1 - view.share(time)) < TICK / 3 ? "last" : "";
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
    this.open();
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
    // Playback leaves the view at its end.
    if (isPlaying && !this.view.isWhole && !this.view.contains(at)) this.show(at);
    score?.style.setProperty("--at", this.view.seconds ? this.view.share(at) : 0);
    score?.classList.toggle("is-moved", at > 0);
    this.onTime(at > 0 ? at : null);
  }
}
