// The card of a recording: in progress, failed, or with its result.

import { make } from "./dom.js";
import { icon } from "./icons.js";
import { confidenceLane, ticks, timeLane } from "./lane.js";
import { Player } from "./player.js";
import { decide } from "./rule.js";
import * as files from "./save.js";
import { clock } from "./texts.js";

let cards = 0;

export class Card {
  /// `page` provides `translator`, `theme`, `overrides`, `classesOf(id)`, `retry(card)` and `remove(card)`.
  constructor(recording, page) {
    Object.assign(this, { recording, page, answer: null, decision: null, problem: null, progress: ["queued"], abort: new AbortController() });
    const id = `card-${++cards}`;
    this.title = make("h2", { id, tabindex: "-1" }, recording.name);
    this.meta = make("span", { class: "meta" });
    this.close = make("button", { type: "button", class: "close", onclick: () => page.remove(this) }, "×");
    this.state = make("div", { class: "state" });
    this.named = make("ul", { class: "named" });
    this.summary = make("summary");
    this.player = new Player(recording.blob, page);
    this.rows = make("ol", { class: "rows" });
    this.note = make("p", { class: "hint" });
    this.foot = make("footer");
    this.details = make("details", { hidden: true }, this.summary, make("div", { class: "score" }, this.player.element, this.rows), this.note, this.foot);
    this.element = make("article", { class: "card", "aria-labelledby": id }, make("header", {}, this.title, this.meta, this.close), this.state, this.named, this.details);
    this.details.addEventListener("toggle", () => this.details.open && this.answer && this.player.open(this.answer.seconds));
    this.player.onTime = (time) => this.markNow(time);
    // The time axis is shown with the spectrogram.
    this.player.onPicture = () => this.updateRows();
  }

  showProgress(...progress) {
    this.progress = progress;
    this.update();
  }

  showProblem(problem) {
    this.problem = problem;
    this.update();
  }

  showResult(answer, isOpen) {
    this.answer = answer;
    this.order = answer.instruments.map((one) => one.code);
    this.details.hidden = false;
    this.update();
    // Open after the rows exist: the spectrogram takes their width.
    this.details.open = isOpen;
  }

  restart() {
    Object.assign(this, { problem: null, answer: null, decision: null, abort: new AbortController(), progress: ["queued"] });
    this.update();
  }

  /// Draws everything again after a change of language, sliders or theme.
  update() {
    const { translator } = this.page;
    this.close.setAttribute("aria-label", translator.text("remove", { name: this.recording.name }));
    this.element.classList.toggle("is-waiting", !this.answer && !this.problem);
    this.updateState();
    if (!this.answer) return this.named.replaceChildren();
    this.decision = decide(this.answer, this.page.overrides, this.page.classesOf(this.answer.model.id));
    this.meta.textContent = clock(this.answer.seconds);
    this.summary.textContent = translator.text(this.answer.timeline ? "result_timeline" : "result_classes");
    this.updateNamed();
    this.updateRows();
    this.updateFoot();
    this.player.update(this.recording.name);
  }

  updateState() {
    const { translator } = this.page;
    this.state.hidden = this.answer !== null;
    const plain = (key, act) => make("button", { type: "button", class: "plain", onclick: act }, translator.text(key));
    if (this.problem) {
      const { code } = this.problem;
      const known = { offline: "offline", cancelled: "cancelled", unexpected: "unexpected" }[code];
      const mib = Math.floor(this.page.limits.bytes / 2 ** 20);
      const sentence = code === "too_large_here" ? translator.text("too_large", { mib }) : known ? translator.text(known) : translator.problem(this.problem);
      const canRetry = ["offline", "cancelled", "full", "too_slow", "broken_off", "failed", "unexpected"].includes(code);
      this.state.replaceChildren(make("p", { class: "trouble" }, sentence), canRetry ? plain("again", () => this.page.retry(this)) : "");
    } else if (!this.answer) {
      const [key, value] = this.progress;
      const values = key === "sending" ? { percent: translator.percent(value) } : { n: value };
      const waves = make("span", { class: "waves", "aria-hidden": "true" }, ...Array.from({ length: 5 }, () => make("i")));
      this.state.replaceChildren(make("p", {}, waves, translator.text(key, values)), plain("cancel", () => this.abort.abort()));
    }
  }

  nameOf(one) {
    return this.page.translator.name(one.code, one.name);
  }

  updateNamed() {
    const { translator } = this.page;
    const named = this.decision.instruments.filter((one) => one.decided);
    const chip = (code, name, below) => make("li", {}, make("span", { class: "round" }, icon(code)), make("span", { class: "what" }, make("b", {}, name), make("small", {}, below)));
    this.named.replaceChildren(
      ...(named.length
        ? named.map((one) => chip(one.code, this.nameOf(one), translator.percent(one.confidence)))
        : [chip("", translator.text("nothing"), translator.text("nothing_help"))]),
    );
    this.named.classList.toggle("nothing", !named.length);
  }

  sentence() {
    const { translator } = this.page;
    const named = this.decision.instruments.filter((one) => one.decided);
    const classes = translator.list(named.map((one) => `${this.nameOf(one)} ${translator.percent(one.confidence)}`));
    return translator.text(named.length ? "result" : "result_none", { name: this.recording.name, classes });
  }

  updateRows() {
    const { translator } = this.page;
    const { timeline, seconds } = this.answer;
    // Rows keep the order of the response, so that they do not jump while a slider moves.
    const byCode = Object.fromEntries(this.decision.instruments.map((one) => [one.code, one]));
    const isSingle = this.answer.rule.task === "single_label" && this.page.overrides.cutoff === null && this.page.overrides.fraction === null;
    const rows = this.order.map((code) => {
      const one = byCode[code];
      const segments = this.decision.segments?.filter((segment) => segment.code === code) ?? [];
      const column = timeline?.codes.indexOf(code);
      const lane = timeline
        ? timeLane(timeline.probabilities.map((row) => row[column]), timeline.borders, seconds, segments, one.cutoff)
        : confidenceLane(one.confidence, isSingle ? null : one.cutoff, one.decided);
      const when = segments.map(({ start, end }) => translator.text("from_to", { start: clock(start), end: clock(end) })).join(", ");
      const spoken = [translator.text(one.decided ? "named" : "not_named"), ...(timeline ? [when || translator.text("never_above")] : [])].join(", ");
      const row = make(
        "li",
        { class: one.decided ? "is-named" : null, "data-code": code },
        make("span", { class: "label" }, icon(code), make("span", {}, this.nameOf(one))),
        make("span", { class: timeline ? "lane" : "lane is-bar" }, lane),
        make("span", { class: "value" }, translator.percent(one.confidence)),
        make("span", { class: "unseen" }, spoken),
      );
      row.segments = segments;
      return row;
    });
    this.rows.replaceChildren(...rows);
    this.rows.setAttribute("aria-label", this.summary.textContent);
    this.player.setTicks(timeline || this.player.hasPicture ? ticks(seconds, innerWidth < 640 ? 5 : 10) : [], seconds);
    this.note.hidden = timeline !== null;
    const { used } = this.answer;
    if (!timeline) this.note.textContent = used.share > 0.9999 ? translator.text("clip_whole") : translator.text("clip_note", { seconds: translator.seconds(used.seconds), whole: clock(seconds), start: clock(used.start) });
  }

  markNow(time) {
    for (const row of this.rows.children) {
      row.classList.toggle("is-now", time !== null && row.segments.some(({ start, end }) => start <= time && time < end));
    }
  }

  updateFoot() {
    const { translator, overrides } = this.page;
    const { name } = this.recording;
    const stem = name.replace(/\.[^.]*$/, "");
    const button = (key, ending, kind, text) =>
      make(
        "button",
        { type: "button", "data-save": key, "aria-label": translator.text("save_help", { what: translator.text(key), name }), onclick: () => files.save(`${stem}${ending}`, kind, text()) },
        translator.text(key),
      );
    const ms = translator.number(1000 * this.answer.timings.total);
    const { experiment, model } = this.answer.model;
    const took = translator.text("took", { ms, model: this.answer.model.id ?? `${experiment}:${model}` });
    this.foot.replaceChildren(
      make("span", { class: "hint" }, took),
      make(
        "span",
        { class: "saves" },
        make("span", { class: "hint" }, translator.text("save")),
        button("save_json", ".json", "application/json", () => files.json(name, this.answer, this.decision, overrides)),
        button("save_csv", ".csv", "text/csv", () => files.csv(name, this.decision)),
        this.answer.timeline ? button("save_windows", ".windows.csv", "text/csv", () => files.windows(name, this.answer.timeline)) : null,
      ),
    );
  }
}
