// The microphone: asked for when it is wanted, given back when it is not.

import { at } from "./dom.js";
import { clock } from "./words.js";

/// What browsers record, the best for music first.
const KINDS = [["audio/webm;codecs=opus", "webm"], ["audio/ogg;codecs=opus", "ogg"], ["audio/mp4", "m4a"], ["audio/webm", "webm"]];
/// Music is not speech: what makes calls understandable takes away what instruments are told by.
const WISHES = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
const LONGEST = 600;
const SHORTEST = 0.5;
const [QUIET, LOUD] = [0.01, 0.985];

const trouble = (error) =>
  ({ NotAllowedError: "mic_denied", SecurityError: "mic_denied", NotFoundError: "mic_none", OverconstrainedError: "mic_none" })[error.name] ?? "mic_busy";

export class Recorder {
  /// `page` gives `speaker` and `announce(sentence)`; `take(blob, ending)` is handed what was recorded.
  constructor(page, take) {
    Object.assign(this, { page, take, is: "idle", trouble: null, thrown: false, levels: [] });
    [this.button, this.words, this.state, this.clock] = ["record-button", "record-words", "record-state", "record-clock"].map(at);
    [this.level, this.levelWords, this.throwAway, this.troubleWords, this.trace] = ["level", "level-words", "record-throw", "mic-trouble", "trace"].map(at);
    this.button.addEventListener("click", () => (this.is === "on" ? this.stop() : this.start()));
    this.throwAway.addEventListener("click", () => this.stop(true));
  }

  update() {
    const { speaker } = this.page;
    this.button.className = `is-${this.is}`;
    this.words.textContent = speaker.say(this.is === "on" ? "record_stop" : "record_start");
    this.state.textContent = speaker.say({ idle: "record_idle", asking: "record_asking", on: "record_on" }[this.is]);
    this.throwAway.hidden = this.is !== "on";
    this.troubleWords.textContent = this.trouble ? speaker.say(this.trouble) : "";
    if (this.is === "on") return;
    this.levelWords.textContent = "\u00a0";
    this.clock.textContent = clock(0);
  }

  becomes(is, trouble = null) {
    [this.is, this.trouble] = [is, trouble];
    this.update();
  }

  async start() {
    if (this.is !== "idle") return;
    if (!window.isSecureContext) return this.becomes("idle", "mic_insecure");
    if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) return this.becomes("idle", "mic_unable");
    this.becomes("asking");
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: WISHES });
    } catch (error) {
      return this.becomes("idle", trouble(error));
    }
    const [kind, ending] = KINDS.find(([kind]) => MediaRecorder.isTypeSupported(kind)) ?? ["", "webm"];
    const pieces = [];
    const recorder = new MediaRecorder(stream, { ...(kind && { mimeType: kind }), audioBitsPerSecond: 160_000 });
    const sound = new AudioContext();
    const analyser = new AnalyserNode(sound, { fftSize: 2048 });
    sound.createMediaStreamSource(stream).connect(analyser);
    Object.assign(this, { recorder, analyser, thrown: false, levels: [], begun: performance.now() });
    recorder.addEventListener("dataavailable", ({ data }) => data.size && pieces.push(data));
    recorder.addEventListener("stop", () => {
      const seconds = (performance.now() - this.begun) / 1000;
      stream.getTracks().forEach((track) => track.stop());
      sound.close();
      this.becomes("idle", this.lost ? "mic_lost" : null);
      this.lost = false;
      this.show(0);
      if (this.thrown) return this.page.announce(this.page.speaker.say("record_thrown"));
      if (seconds < SHORTEST || !pieces.length) return this.becomes("idle", "record_short");
      this.take(new Blob(pieces, { type: recorder.mimeType }), ending);
    });
    stream.getAudioTracks()[0].addEventListener("ended", () => {
      this.lost = true;
      this.stop();
    });
    recorder.start(1000);
    this.becomes("on");
    this.page.announce(this.page.speaker.say("record_on"));
    this.watch();
  }

  stop(thrown = false) {
    this.thrown = thrown;
    if (this.recorder?.state === "recording") this.recorder.stop();
  }

  watch() {
    if (this.is !== "on") return;
    const seconds = (performance.now() - this.begun) / 1000;
    const samples = new Float32Array(this.analyser.fftSize);
    this.analyser.getFloatTimeDomainData(samples);
    const peak = samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    this.clock.textContent = clock(seconds);
    this.levels.push(peak);
    this.show(peak);
    if (seconds >= LONGEST) return this.stop();
    requestAnimationFrame(() => this.watch());
  }

  /// A peak from 0 to 1, on a scale of 48 dB.
  show(peak) {
    const share = Math.max(0, Math.min(1, 1 + (20 * Math.log10(peak + 1e-9)) / 48));
    this.button.style.setProperty("--level", share.toFixed(3));
    this.level.style.setProperty("--level", share.toFixed(3));
    this.draw();
    if (this.is !== "on") return this.level.setAttribute("aria-valuenow", "0");
    // Words change no oftener than they can be read.
    if (this.levels.length % 30 !== 1) return;
    const recent = Math.max(...this.levels.slice(-60));
    const key = recent < QUIET ? "level_quiet" : recent > LOUD ? "level_loud" : "level_good";
    this.level.setAttribute("aria-valuenow", String(Math.round(100 * share)));
    this.level.setAttribute("aria-valuetext", this.page.speaker.say(key));
    this.level.dataset.is = key;
    this.levelWords.textContent = this.page.speaker.say(key);
  }

  /// The last seconds, bars from the button to both sides.
  draw() {
    const { trace } = this;
    const [wide, high] = [trace.clientWidth * devicePixelRatio, trace.clientHeight * devicePixelRatio];
    if (trace.width !== wide || trace.height !== high) [trace.width, trace.height] = [wide, high];
    const context = trace.getContext("2d");
    context.clearRect(0, 0, wide, high);
    context.fillStyle = getComputedStyle(trace).color;
    const [bar, apart, each] = [3 * devicePixelRatio, 6 * devicePixelRatio, 4];
    // Whole groups of four frames, so that bars move and do not change.
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
