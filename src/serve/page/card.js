// The card of a recording: in progress, failed, or with its result.

import { make } from "./dom.js";
import { icon } from "./icons.js";
import { cutOff, heading, scoreText, trust, warning, whyNothing } from "./meaning.js";
import { Player } from "./player.js";
import { Rows } from "./rows.js";
import { decide, inPart, namedOf, overridesOf } from "./rule.js";
import * as files from "./save.js";
import { SideBySide } from "./side_by_side.js";
import { clock } from "./texts.js";
import { wav } from "./wav.js";

let cards = 0;

/// Problems after which the same recording may be sent again.
const RETRY = ["offline", "cancelled", "full", "too_slow", "broken_off", "failed", "unexpected", "no_token"];

export class Card {
  /// `recording` has a `name` and a `blob`; `isRecorded` if it comes from the microphone; `classes` are those of the model of a kept answer. `page` provides `translator`, `theme`,
  /// `choice`, `models`, `classesOf(id)`, `retry(card)`, `remove(card)` and `set(choice)`.
  constructor(recording, page) {
    Object.assign(this, { recording, page, answer: null, decision: null, problem: null, progress: ["queued"], abort: new AbortController() });
    const id = `card-${++cards}`;
    this.title = make("h2", { id, tabindex: "-1" }, recording.name);
    this.meta = make("span", { class: "meta" });
    this.close = make("button", { type: "button", class: "close", onclick: () => page.remove(this) }, "×");
    this.state = make("div", { class: "state" });
    this.heading = make("h3", { class: "heading" });
    this.named = make("ul", { class: "named" });
    this.warning = make("p", { class: "hint warning" });
    this.cutOff = make("p", { class: "hint cut-off" });
    this.partsHeading = make("h3", { class: "heading" });
    this.parts = make("ul", { class: "parts" });
    this.trust = make("p", { class: "hint trust" });
    this.sideBySide = new SideBySide(recording, page);
    this.result = make("div", { class: "result", hidden: true }, this.heading, this.named, this.warning, this.cutOff, this.partsHeading, this.parts, this.trust, this.sideBySide.element);
    this.summary = make("summary");
    this.player = new Player(recording.blob, page);
    this.rows = new Rows(page, this.player);
    this.note = make("p", { class: "hint" });
    this.foot = make("footer");
    this.truthWords = make("span");
    this.truth = make("input", { type: "text", list: `${id}-classes`, autocomplete: "off", oninput: () => page.cards.forEach((card) => card.answer && card.updateCorrection()) });
    this.classList = make("datalist", { id: `${id}-classes` });
    this.saveCorrections = make("button", { type: "button", "data-save": "corrections", onclick: () => files.save("corrections.csv", "text/csv", files.corrections(page.cards)) });
    const correction = make("p", { class: "saves correction" }, make("label", {}, this.truthWords, " ", this.truth), this.classList, this.saveCorrections);
    this.details = make("details", { hidden: true }, this.summary, make("div", { class: "score" }, this.player.element, this.rows.element), this.note, this.foot, correction);
    this.element = make("article", { class: "card", "aria-labelledby": id }, make("header", {}, this.title, this.meta, this.close), this.state, this.result, this.details);
    this.details.addEventListener("toggle", () => this.details.open && this.openPlayer());
    this.player.onTime = (time) => this.rows.markNow(time);
    // The time axis is shown with the spectrogram.
    this.player.onView = () => this.rows.update(...this.rows.last);
    this.player.onPicture = () => this.answer && this.updateRows();
  }

  openPlayer() {
    if (this.answer) this.player.open();
  }

  showProgress(...progress) {
    this.progress = progress;
    clearInterval(this.timer);
    if (progress[0] === "analysing") {
      this.began = performance.now();
      this.timer = setInterval(() => this.updateState(), 1000);
    }
    if (!this.isDone) this.updateState();
  }

  showProblem(problem) {
    clearInterval(this.timer);
    this.problem = problem;
    this.update();
  }

  showResult(answer, isOpen) {
    clearInterval(this.timer);
    this.answer = answer;
    this.update();
    // Open after the rows exist: the spectrogram takes their width.
    this.details.open = isOpen;
  }

  restart() {
    Object.assign(this, { problem: null, answer: null, decision: null, abort: new AbortController(), progress: ["queued"] });
    this.update();
  }

  get isDone() {
    return this.answer !== null || this.problem !== null;
  }

  /// Draws everything again after a change of language, decision rule or theme.
  update() {
    const { translator, choice } = this.page;
    this.close.setAttribute("aria-label", translator.text("remove", { name: this.recording.name }));
    this.updateState();
    this.result.hidden = this.details.hidden = !this.answer;
    if (!this.answer) return;
    this.overrides = overridesOf(this.answer, choice);
    this.decision = decide(this.answer, this.overrides, this.page.classesOf(this.answer.model.id) ?? this.recording.classes);
    this.meta.textContent = clock(this.answer.seconds);
    this.sideBySide.take(this.answer, this.abort);
    this.sideBySide.update();
    this.summary.textContent = translator.text(this.answer.timeline ? "result_timeline" : "result_classes");
    this.updateResult();
    this.updateRows();
    this.updateFoot();
    this.updateCorrection();
    this.player.update(this.recording.name);
  }

  updateState() {
    const { translator } = this.page;
    this.state.hidden = this.answer !== null;
    const plain = (key, act) => make("button", { type: "button", class: "plain", onclick: act }, translator.text(key));
    if (this.problem) {
      const { code, detail } = this.problem;
      const details = detail ? make("details", { class: "technical" }, make("summary", {}, translator.text("technical")), make("p", { class: "hint", lang: "en" }, `${code}: ${detail}`)) : "";
      this.state.replaceChildren(make("p", { class: "trouble" }, this.problemSentence()), RETRY.includes(code) ? plain("again", () => this.page.retry(this)) : "", details);
    } else if (!this.answer) {
      this.waiting ??= { dots: make("span", { class: "dots", "aria-hidden": "true" }, make("i"), make("i"), make("i")), text: make("span"), bar: make("progress", { max: "1" }), cancel: plain("cancel", () => this.abort.abort()) };
      const { dots, text, bar, cancel } = this.waiting;
      // The same elements each second, so that the button keeps the focus.
      if (!this.state.contains(cancel)) this.state.replaceChildren(make("p", {}, dots, text), bar, cancel);
      const { sentence, share } = this.progressText();
      text.textContent = sentence;
      cancel.textContent = translator.text("cancel");
      bar.hidden = share === null;
      bar.value = share ?? 0;
      bar.setAttribute("aria-label", sentence);
    }
  }

  /// How far the recording is, and as a share if that is known. The server says nothing while it predicts: the time that is left
  /// follows from the speed of earlier answers.
  progressText() {
    const { translator, speed, model, models } = this.page;
    const [key, value] = this.progress;
    if (key === "sending") return { sentence: translator.text("sending", { percent: translator.percent(value) }), share: value };
    const spent = (performance.now() - this.began) / 1000;
    if (key !== "analysing" || spent < 1) return { sentence: translator.text(key, { n: value }), share: null };
    const expected = this.seconds / speed.get(model ?? models?.[0]?.id);
    const all = this.seconds ? clock(this.seconds) : null;
    if (expected > 3 && spent < expected) return { sentence: translator.text("analysing_left", { all, left: translator.duration(Math.ceil(expected - spent)) }), share: spent / expected };
    if (spent < 3) return { sentence: translator.text(key), share: null };
    return { sentence: translator.text(all ? "analysing_of" : "analysing_since", { all, spent: translator.duration(Math.floor(spent)) }), share: null };
  }

  problemSentence() {
    const { translator, limits } = this.page;
    const values = { mib: Math.floor(limits.bytes / 2 ** 20), minutes: translator.number(this.page.longest() / 60) };
    return translator.problem(this.problem, values);
  }

  nameOf(one) {
    return this.page.translator.name(one.code, one.name);
  }

  updateResult() {
    const { translator, models } = this.page;
    const { decision, answer } = this;
    const named = namedOf(decision);
    const what = (name, below) => make("span", { class: "what" }, make("b", { title: name }, name), make("small", {}, below));
    const chip = (one, name, ...below) => make("li", {}, make("span", { class: "round" }, icon(one?.code, one?.name)), what(name, ...below));
    this.heading.textContent = heading(translator, decision, answer);
    this.named.classList.toggle("nothing", !named.length);
    this.warning.textContent = warning(translator, decision, answer);
    this.warning.hidden = !this.warning.textContent;
    this.named.classList.toggle("is-unsure", !this.warning.hidden);
    this.cutOff.textContent = cutOff(translator, answer);
    this.cutOff.hidden = !answer.cut_off;
    if (named.length) this.named.replaceChildren(...named.map((one) => chip(one, this.nameOf(one), scoreText(translator, decision, one))));
    else {
      const { sentence, control, setting } = whyNothing(translator, decision, answer);
      const set = setting === null ? null : make("button", { type: "button", class: "plain", onclick: () => this.page.set({ kind: decision.kind, [control]: setting }) }, translator.text(`set_${control}`, { value: translator.percent(setting) }));
      const item = chip(null, translator.text("nothing"), sentence);
      if (set) item.lastChild.append(set);
      this.named.replaceChildren(item);
    }
    const parts = inPart(decision);
    this.partsHeading.hidden = this.parts.hidden = parts.length === 0;
    this.partsHeading.textContent = translator.text("heading_part");
    this.parts.replaceChildren(
      ...parts.map(({ one, first, seconds }) => {
        const values = { name: this.nameOf(one), first: clock(first), seconds: translator.duration(seconds) };
        const play = () => {
          this.details.open = true;
          this.player.playFrom(first);
        };
        const button = make("button", { type: "button", "data-code": one.code, onclick: play }, icon(one.code, one.name), what(values.name, translator.text("part", values)), make("span", { class: "unseen" }, translator.text("part_play")));
        return make("li", {}, button);
      }),
    );
    this.trust.textContent = [translator.text("model_answers", { model: answer.model.id ?? answer.model.model }), trust(translator, answer, models)].filter(Boolean).join(" ");
  }

  /// The result in a sentence, for screen readers and the table of several recordings.
  sentence() {
    const { translator } = this.page;
    const classes = this.classes();
    const parts = this.partsText();
    const sentences = [
      translator.text(classes ? "result" : "result_none", { name: this.recording.name, classes: classes || this.named.querySelector("small").textContent }),
      parts && translator.text("result_part", { classes: parts }),
      this.warning.textContent,
      this.cutOff.textContent,
    ];
    return sentences.filter(Boolean).join(" ");
  }

  /// The named classes with their scores.
  classes() {
    const { translator } = this.page;
    const named = namedOf(this.decision);
    return translator.list(named.map((one) => `${this.nameOf(one)} (${scoreText(translator, this.decision, one)})`));
  }

  /// The classes that are present in part.
  partsText() {
    return this.page.translator.list(inPart(this.decision).map(({ one }) => this.nameOf(one)));
  }

  updateRows() {
    const { translator } = this.page;
    const { timeline, seconds, used } = this.answer;
    this.player.setSeconds(seconds);
    this.rows.update(this.answer, this.decision, this.summary.textContent);
    this.player.setAxis(timeline !== null || this.player.hasPicture, used);
    this.note.hidden = timeline !== null;
    if (!timeline) this.note.textContent = used.share > 0.9999 ? translator.text("clip_whole") : translator.text("clip_note", { seconds: translator.seconds(used.seconds), whole: clock(seconds), start: clock(used.start) });
  }

  /// The labels that the person gives, and the classes to choose from.
  updateCorrection() {
    const { translator, cards } = this.page;
    this.truthWords.textContent = translator.text("correction");
    this.classList.replaceChildren(...this.decision.instruments.map((one) => make("option", { value: one.code, label: this.nameOf(one) })));
    this.saveCorrections.hidden = !this.truth.value.trim();
    this.saveCorrections.textContent = translator.count("save_corrections", cards.filter(({ truth }) => truth.value.trim()).length);
  }

  /// What the files of the results contain.
  get saved() {
    const { recording, answer, decision, overrides } = this;
    return { name: recording.name, answer, decision, overrides };
  }

  updateFoot() {
    const { translator } = this.page;
    const { name, blob, isRecorded } = this.recording;
    const stem = name.replace(/\.[^.]*$/, "");
    const button = (key, act, values = {}) => {
      const what = translator.text(key, values);
      return make("button", { type: "button", "data-save": key, "aria-label": translator.text("save_help", { what, name }), onclick: act }, what);
    };
    const save = (key, ending, kind, text) => button(key, () => files.save(`${stem}${ending}`, kind, text()));
    const time = translator.elapsed(this.answer.timings.total);
    const hasSegments = this.decision.segments !== null;
    const asWav = async () => {
      const bytes = await wav(blob);
      if (bytes) files.save(`${stem}.wav`, "audio/wav", bytes);
      else this.page.announce(translator.text("no_picture"));
    };
    this.foot.replaceChildren(
      make("span", { class: "hint" }, translator.text("took", { time })),
      make(
        "span",
        { class: "saves" },
        make("span", { class: "hint" }, translator.text("save")),
        isRecorded ? button("save_recording", () => files.save(name, blob.type, blob), { kind: name.split(".").pop().toUpperCase() }) : null,
        isRecorded ? button("save_wav", asWav) : null,
        save("save_json", ".json", "application/json", () => files.json([this.saved])),
        save("save_csv", ".csv", "text/csv", () => files.csv([this.saved])),
        this.answer.timeline ? save("save_windows", ".windows.csv", "text/csv", () => files.windows(name, this.answer.timeline)) : null,
        hasSegments ? save("save_audacity", ".txt", "text/plain", () => files.audacity(this.decision)) : null,
        hasSegments ? save("save_jams", ".jams", "application/json", () => files.jams(this.saved)) : null,
      ),
    );
  }
}
