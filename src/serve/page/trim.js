// The choice of a part of a recording before it is sent: its waveform, two sliders, playback.

import { at } from "./dom.js";
import { decoded, encode } from "./wav.js";

/// Seconds.
const SHORTEST = 0.5;

/// The highest amplitude in each stretch of `apart` pixels of a waveform that is `wide`.
const peaksOf = (samples, wide, apart) =>
  Array.from({ length: Math.ceil(wide / apart) }, (_, n) => {
    const [from, to] = [n * apart, (n + 1) * apart].map((x) => Math.min(samples.length, Math.floor((x / wide) * samples.length)));
    let peak = 0;
    for (let i = from; i < to; i++) peak = Math.max(peak, Math.abs(samples[i]));
    return peak;
  });

export class Trim {
  /// `page` provides `translator`; `onChosen(blob, extension)` receives the whole recording or the part as WAV.
  constructor(page, onChosen, onDiscarded) {
    Object.assign(this, { page, onChosen, onDiscarded, sound: null });
    [this.panel, this.wave, this.start, this.end, this.words, this.button] = ["trim", "trim-wave", "trim-start", "trim-end", "trim-words", "trim-play"].map(at);
    this.audio = new Audio();
    this.audio.addEventListener("timeupdate", () => this.audio.currentTime >= this.part[1] && this.audio.pause());
    for (const kind of ["play", "pause"]) this.audio.addEventListener(kind, () => this.update());
    for (const slider of [this.start, this.end]) slider.addEventListener("input", () => this.limit(slider));
    this.button.addEventListener("click", () => this.play());
    at("trim-send").addEventListener("click", () => this.send());
    at("trim-discard").addEventListener("click", () => {
      this.close();
      this.onDiscarded();
    });
    new ResizeObserver(() => this.draw()).observe(this.wave);
  }

  /// Shows the recording; one that the browser cannot decode is sent as it is.
  async open(blob, extension) {
    if (this.sound) this.close();
    const sound = await decoded(blob);
    if (!sound || sound.duration < SHORTEST) return this.onChosen(blob, extension);
    Object.assign(this, { blob, extension, sound, peaks: null });
    for (const slider of [this.start, this.end]) slider.max = sound.duration.toFixed(2);
    [this.start.value, this.end.value] = [0, this.end.max];
    this.address = URL.createObjectURL(blob);
    this.audio.src = this.address;
    this.panel.hidden = false;
    this.update();
    this.draw();
    at("trim-title").focus();
    this.panel.scrollIntoView({ block: "nearest" });
  }

  get part() {
    return [Number(this.start.value), Number(this.end.value)];
  }

  /// The part has at least the shortest length.
  limit(moved) {
    const [start, end] = this.part;
    if (end - start < SHORTEST) moved.value = moved === this.start ? end - SHORTEST : start + SHORTEST;
    this.update();
    this.draw();
  }

  update() {
    if (!this.sound) return;
    const { translator } = this.page;
    const [start, end] = this.part;
    const seconds = (time) => `${translator.number(time, 1)}\u00a0s`;
    this.words.textContent = translator.text("trim_part", { start: seconds(start), end: seconds(end), long: seconds(end - start) });
    this.start.setAttribute("aria-valuetext", seconds(start));
    this.end.setAttribute("aria-valuetext", seconds(end));
    this.button.textContent = translator.text(this.audio.paused ? "trim_play" : "pause");
  }

  play() {
    if (!this.audio.paused) return this.audio.pause();
    this.audio.currentTime = this.part[0];
    this.audio.play();
  }

  send() {
    const { blob, extension, sound } = this;
    const [start, end] = this.part;
    const isWhole = start === 0 && end >= Number(this.end.max);
    this.close();
    if (isWhole) this.onChosen(blob, extension);
    else this.onChosen(new Blob([encode(sound, start, end)], { type: "audio/wav" }), "wav");
  }

  close() {
    this.audio.pause();
    this.audio.removeAttribute("src");
    URL.revokeObjectURL(this.address);
    this.sound = null;
    this.panel.hidden = true;
  }

  /// The waveform, with what is left out in a faint colour.
  draw() {
    if (!this.sound) return;
    const { wave, sound } = this;
    [wave.width, wave.height] = [wave.clientWidth, wave.clientHeight].map((size) => Math.round(size * devicePixelRatio));
    const context = wave.getContext("2d");
    const { color, borderColor } = getComputedStyle(wave);
    const [start, end] = this.part.map((time) => (time / sound.duration) * wave.width);
    const [bar, apart] = [2 * devicePixelRatio, 4 * devicePixelRatio];
    if (this.peaks?.wide !== wave.width) this.peaks = { wide: wave.width, bars: peaksOf(sound.getChannelData(0), wave.width, apart) };
    this.peaks.bars.forEach((peak, n) => {
      const [x, tall] = [n * apart, Math.max(bar, peak ** 0.6 * wave.height)];
      context.fillStyle = x >= start && x < end ? color : borderColor;
      context.fillRect(x, (wave.height - tall) / 2, bar, tall);
    });
  }
}
