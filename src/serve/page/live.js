// Live mode: the last seconds of the microphone are analysed again and again, and bars move with the result. Nothing is kept.

import { at, make } from "./dom.js";
import { icon } from "./icons.js";
import { isUnlikeTraining } from "./meaning.js";
import { CONSTRAINTS, trouble } from "./recorder.js";
import { predict, Problem } from "./send.js";
import { encode } from "./wav.js";

/// Classes with a bar.
const MOST = 12;
/// Seconds for a model that uses whole recordings.
const USUAL = 3;
/// The shortest time between two requests, in milliseconds.
const APART = 500;
/// The shortest time between two announcements for screen readers, in milliseconds.
const QUIET_FOR = 4000;

export class Live {
  /// `page` provides `translator`, `models`, `model`, `token`, `modelOf(id)`, `classesOf(id)` and `announce(sentence)`.
  constructor(page) {
    Object.assign(this, { page, isOn: false, trouble: null, answer: null, said: "", saidAt: 0 });
    [this.button, this.state, this.bars, this.troubleText] = ["live-button", "live-state", "live-bars", "live-trouble"].map(at);
    this.button.addEventListener("click", () => (this.isOn ? this.stop() : this.start()));
  }

  get model() {
    return this.page.modelOf(this.page.model) ?? this.page.models[0];
  }

  get seconds() {
    return this.model.window?.seconds ?? this.model.clip_seconds ?? USUAL;
  }

  async start() {
    if (this.isOn || !this.page.models) return;
    if (!window.isSecureContext) return this.fail("mic_insecure");
    if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) return this.fail("mic_unable");
    Object.assign(this, { isOn: true, trouble: null, answer: null, samples: [], length: 0, abort: new AbortController() });
    this.update();
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: CONSTRAINTS });
    } catch (error) {
      this.isOn = false;
      return this.fail(trouble(error));
    }
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule("/live_samples.js");
    if (!this.isOn) return this.close();
    const node = new AudioWorkletNode(this.context, "samples", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    node.port.addEventListener("message", ({ data }) => this.take(data));
    node.port.start();
    this.context.createMediaStreamSource(this.stream).connect(node);
    this.stream.getAudioTracks()[0].addEventListener("ended", () => this.isOn && (this.stop(), this.fail("mic_lost_live")));
    this.page.announce(this.page.translator.text("live_on"));
    this.ask();
  }

  fail(key) {
    this.trouble = key;
    this.update();
  }

  /// Keeps the last seconds.
  take(block) {
    this.samples.push(block);
    this.length += block.length;
    while (this.length - this.samples[0].length >= this.needed) this.length -= this.samples.shift().length;
  }

  get needed() {
    return Math.round(this.seconds * this.context.sampleRate);
  }

  /// Asks the server until live mode is stopped. A busy server is asked again later.
  async ask() {
    while (this.isOn) {
      const began = performance.now();
      if (this.length >= this.needed) {
        const wav = this.wav();
        try {
          const answer = await predict({ name: "live.wav", blob: new Blob([wav], { type: "audio/wav" }) }, { model: this.model.id, token: this.page.token }, () => {}, this.abort.signal);
          if (this.isOn) this.answer = answer;
        } catch (problem) {
          if (!(problem instanceof Problem)) throw problem;
          if (!this.isOn) return;
          // Silence is no failure here.
          this.answer = null;
          if (problem.code !== "silent") {
            this.stop();
            this.trouble = null;
            this.failed = problem;
          }
        }
        if (this.isOn || this.failed) this.update();
      }
      await new Promise((go) => setTimeout(go, Math.max(50, APART - (performance.now() - began))));
    }
  }

  /// The last seconds as a WAV file.
  wav() {
    const all = new Float32Array(this.length);
    let from = 0;
    for (const block of this.samples) {
      all.set(block, from);
      from += block.length;
    }
    const last = all.subarray(all.length - this.needed);
    return encode({ sampleRate: this.context.sampleRate, length: last.length, duration: last.length / this.context.sampleRate, numberOfChannels: 1, getChannelData: () => last });
  }

  stop() {
    if (!this.isOn) return;
    this.isOn = false;
    this.abort.abort();
    this.close();
    this.update();
  }

  close() {
    this.stream?.getTracks().forEach((track) => track.stop());
    if (this.context && this.context.state !== "closed") this.context.close();
  }

  update() {
    const { translator } = this.page;
    const { text } = translator;
    this.button.textContent = text(this.isOn ? "live_stop" : "live_start");
    this.button.classList.toggle("main", this.isOn);
    const unlike = this.answer && isUnlikeTraining(this.answer);
    this.state.textContent = !this.isOn ? text("live_lead") : !this.answer ? text("live_waiting", { seconds: translator.seconds(this.seconds) }) : unlike ? text("heading_unlike") : text("live_last", { seconds: translator.seconds(this.seconds) });
    this.state.classList.toggle("warning", Boolean(unlike));
    this.troubleText.textContent = this.trouble ? text(this.trouble) : this.failed ? translator.problem(this.failed, { mib: "", minutes: "" }) : "";
    this.failed = null;
    this.bars.hidden = !this.isOn;
    if (this.isOn) this.updateBars(unlike);
  }

  /// The probability of each class in the last window.
  get scores() {
    const { answer, model } = this;
    const { timeline } = answer ?? {};
    const row = timeline?.probabilities.at(-1);
    const score = (code) => (!answer ? 0 : row ? row[timeline.codes.indexOf(code)] : answer.instruments.find((one) => one.code === code).confidence);
    return model.classes.map(({ code, name }, c) => ({ code, name, score: score(code), cutoff: model.rule.cutoffs[c] ?? 0.5 }));
  }

  updateBars(isUnlike) {
    const { translator } = this.page;
    const { scores, model } = this;
    const most = Math.max(...scores.map(({ score }) => score));
    const isNamed = ({ score, cutoff }) => this.answer && !isUnlike && (model.rule.task === "single_label" ? score === most : score >= cutoff);
    // Few classes keep their places, so that the bars move and not the rows.
    const shown = scores.length <= MOST ? scores : [...scores].sort((a, b) => b.score - a.score).slice(0, MOST);
    const codes = shown.map(({ code }) => code).join();
    if (this.bars.dataset.codes !== codes || this.bars.lang !== translator.language) {
      Object.assign(this.bars, { lang: translator.language });
      this.bars.dataset.codes = codes;
      const row = ({ code, name }) => make("li", {}, make("span", { class: "label" }, icon(code, name), make("span", { class: "name" }, translator.name(code, name))), make("span", { class: "bar" }, make("i")), make("span", { class: "value" }));
      this.bars.replaceChildren(...shown.map(row));
    }
    shown.forEach((one, n) => {
      const row = this.bars.children[n];
      row.classList.toggle("is-named", Boolean(isNamed(one)));
      row.style.setProperty("--score", one.score.toFixed(3));
      row.lastChild.textContent = translator.percent(one.score);
    });
    const named = translator.list(shown.filter(isNamed).map(({ code, name }) => translator.name(code, name)));
    if (named === this.said || performance.now() - this.saidAt < QUIET_FOR) return;
    Object.assign(this, { said: named, saidAt: performance.now() });
    if (named) this.page.announce(named);
  }
}
