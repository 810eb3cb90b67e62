// Records from the microphone. Requests it on start and releases it on stop.

import { at } from "./dom.js";
import { clock } from "./texts.js";

/// Recording formats of browsers, the best for music first.
const FORMATS = [["audio/webm;codecs=opus", "webm"], ["audio/ogg;codecs=opus", "ogg"], ["audio/mp4", "m4a"], ["audio/webm", "webm"]];
/// Filters for speech are off: they remove what distinguishes instruments.
export const CONSTRAINTS = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
/// Seconds.
const [LONGEST, SHORTEST] = [600, 0.5];
/// Peak amplitudes.
const [QUIET, LOUD] = [0.01, 0.985];

/// The key of the text for an error of the microphone.
export const trouble = (error) =>
  ({ NotAllowedError: "mic_denied", SecurityError: "mic_denied", NotFoundError: "mic_none", OverconstrainedError: "mic_none" })[error.name] ?? "mic_busy";

export class Recorder {
  /// `page` provides `translator` and `announce(sentence)`; `onRecorded(blob, extension, isToTrim)` receives the recording.
  constructor(page, onRecorded) {
    Object.assign(this, { page, onRecorded, state: "idle", trouble: null, end: "send", levels: [] });
    [this.button, this.label, this.stateText, this.clock] = ["record-button", "record-words", "record-state", "record-clock"].map(at);
    this.caption = at("record-caption");
    [this.level, this.levelText, this.discard, this.troubleText, this.trace] = ["level", "level-words", "record-discard", "mic-trouble", "trace"].map(at);
    this.button.addEventListener("click", () => (this.state === "on" ? this.stop() : this.start()));
    this.discard.addEventListener("click", () => this.stop("discard"));
    this.trim = at("record-trim");
    this.trim.addEventListener("click", () => this.stop("trim"));
  }

  update() {
    const { translator } = this.page;
    this.button.className = `is-${this.state}`;
    this.label.textContent = translator.text(this.state === "on" ? "record_stop" : "record_start");
    this.stateText.textContent = translator.text({ idle: "record_idle", asking: "record_asking", on: "record_on" }[this.state]);
    this.discard.hidden = this.trim.hidden = this.state !== "on";
    this.caption.textContent = this.label.textContent;
    this.troubleText.textContent = this.trouble ? translator.text(this.trouble) : "";
    if (this.state === "on") return;
    this.levelText.textContent = "\u00a0";
    this.clock.textContent = clock(0);
  }

  setState(state, trouble = null) {
    [this.state, this.trouble] = [state, trouble];
    this.update();
  }

  async start() {
    if (this.state !== "idle") return;
    if (!window.isSecureContext) return this.setState("idle", "mic_insecure");
    if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) return this.setState("idle", "mic_unable");
    this.setState("asking");
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: CONSTRAINTS });
    } catch (error) {
      return this.setState("idle", trouble(error));
    }
    const [type, extension] = FORMATS.find(([type]) => MediaRecorder.isTypeSupported(type)) ?? ["", "webm"];
    const pieces = [];
    const recorder = new MediaRecorder(stream, { ...(type && { mimeType: type }), audioBitsPerSecond: 160_000 });
    const context = new AudioContext();
    const analyser = new AnalyserNode(context, { fftSize: 2048 });
    context.createMediaStreamSource(stream).connect(analyser);
    Object.assign(this, { recorder, analyser, end: "send", levels: [], begun: performance.now() });
    recorder.addEventListener("dataavailable", ({ data }) => data.size && pieces.push(data));
    recorder.addEventListener("stop", () => {
      const seconds = (performance.now() - this.begun) / 1000;
      stream.getTracks().forEach((track) => track.stop());
      context.close();
      this.setState("idle", this.lost ? "mic_lost" : null);
      this.lost = false;
      this.showLevel(0);
      if (this.end === "discard") return this.page.announce(this.page.translator.text("record_discarded"));
      if (seconds < SHORTEST || !pieces.length) return this.setState("idle", "record_short");
      this.onRecorded(new Blob(pieces, { type: recorder.mimeType }), extension, this.end === "trim");
    });
    stream.getAudioTracks()[0].addEventListener("ended", () => {
      this.lost = true;
      this.stop();
    });
    recorder.start(1000);
    this.setState("on");
    this.page.announce(this.page.translator.text("record_on"));
    this.watch();
  }

  /// `end` is what happens to the recording: `send`, `trim` or `discard`.
  stop(end = "send") {
    this.end = end;
    if (this.recorder?.state === "recording") this.recorder.stop();
  }

  watch() {
    if (this.state !== "on") return;
    const seconds = (performance.now() - this.begun) / 1000;
    const samples = new Float32Array(this.analyser.fftSize);
    this.analyser.getFloatTimeDomainData(samples);
    const peak = samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    this.clock.textContent = clock(seconds);
    this.levels.push(peak);
    this.showLevel(peak);
    if (seconds >= LONGEST) return this.stop();
    requestAnimationFrame(() => this.watch());
  }

  /// Shows a peak from 0 to 1 on a scale of 48 dB.
  showLevel(peak) {
    const share = Math.max(0, Math.min(1, 1 + (20 * Math.log10(peak + 1e-9)) / 48));
    this.button.style.setProperty("--level", share.toFixed(3));
    this.level.style.setProperty("--level", share.toFixed(3));
    this.draw();
    if (this.state !== "on") return this.level.setAttribute("aria-valuenow", "0");
    // The text changes slowly enough to be read.
    if (this.levels.length % 30 !== 1) return;
    const recent = Math.max(...this.levels.slice(-60));
    const key = recent < QUIET ? "level_quiet" : recent > LOUD ? "level_loud" : "level_good";
    this.level.setAttribute("aria-valuenow", String(Math.round(100 * share)));
    this.level.setAttribute("aria-valuetext", this.page.translator.text(key));
    this.level.dataset.is = key;
    this.levelText.textContent = this.page.translator.text(key);
  }

  /// Draws the last seconds as bars on both sides of the button.
  draw() {
    const { trace } = this;
    const [wide, high] = [trace.clientWidth * devicePixelRatio, trace.clientHeight * devicePixelRatio];
    if (trace.width !== wide || trace.height !== high) [trace.width, trace.height] = [wide, high];
    const context = trace.getContext("2d");
    context.clearRect(0, 0, wide, high);
    context.fillStyle = getComputedStyle(trace).color;
    const [bar, apart, each] = [3 * devicePixelRatio, 6 * devicePixelRatio, 4];
    // Groups of four frames, so that bars move without changing height.
    const groups = Math.floor(this.levels.length / each);
    for (let n = 0; n < Math.min(groups, Math.ceil(wide / 2 / apart)); n++) {
      const group = this.levels.slice((groups - n - 1) * each, (groups - n) * each);
      const tall = Math.max(bar, Math.max(...group) ** 0.6 * high * 0.9);
      context.globalAlpha = Math.max(0, 1 - (2 * n * apart) / wide);
      context.beginPath();
      for (const x of [wide / 2 - n * apart, wide / 2 + n * apart]) context.roundRect(x - bar / 2, (high - tall) / 2, bar, tall, bar / 2);
      context.fill();
    }
  }
}
