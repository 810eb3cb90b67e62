// A recording on the page: waiting, refused, or heard.

import { make } from "./dom.js";
import { icon } from "./icons.js";
import { confidenceLane, ticks, timeLane } from "./lane.js";
import { Player } from "./player.js";
import { decide } from "./rule.js";
import * as files from "./save.js";
import { clock } from "./words.js";

let made = 0;

export class Card {
  /// `page` gives `speaker`, `theme`, `wish` and `classesOf(id)`, and takes `again(card)` and `remove(card)`.
  constructor(recording, page) {
    Object.assign(this, { recording, page, answer: null, decision: null, problem: null, how: ["waiting_turn"], leave: new AbortController() });
    const id = `card-${++made}`;
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
    // The axis belongs to the picture, too.
    this.player.onPicture = () => this.updateRows();
  }

  says(...how) {
    this.how = how;
    this.update();
  }

  fails(problem) {
    this.problem = problem;
    this.update();
  }

  shows(answer, isOpen) {
    this.answer = answer;
    this.order = answer.instruments.map((one) => one.code);
    this.details.hidden = false;
    this.update();
    // Opened after the rows are there: the picture is as wide as they are.
    this.details.open = isOpen;
  }

  restart() {
    Object.assign(this, { problem: null, answer: null, decision: null, leave: new AbortController(), how: ["waiting_turn"] });
    this.update();
  }

  /// Everything again: the words, the sliders or the colours have changed.
  update() {
    const { speaker } = this.page;
    this.close.setAttribute("aria-label", speaker.say("remove", { name: this.recording.name }));
    this.element.classList.toggle("is-waiting", !this.answer && !this.problem);
    this.updateState();
    if (!this.answer) return this.named.replaceChildren();
    this.decision = decide(this.answer, this.page.wish, this.page.classesOf(this.answer.model.id));
    this.meta.textContent = clock(this.answer.seconds);
    this.summary.textContent = speaker.say(this.answer.timeline ? "heard_when" : "heard_what");
    this.updateNamed();
    this.updateRows();
    this.updateFoot();
    this.player.update(this.recording.name);
  }

  updateState() {
    const { speaker } = this.page;
    this.state.hidden = this.answer !== null;
    const plain = (key, act) => make("button", { type: "button", class: "plain", onclick: act }, speaker.say(key));
    if (this.problem) {
      const { code } = this.problem;
      const known = { offline: "offline", cancelled: "cancelled", strange: "strange" }[code];
      const mib = Math.floor(this.page.limits.bytes / 2 ** 20);
      const sentence = code === "too_large_here" ? speaker.say("too_large", { mib }) : known ? speaker.say(known) : speaker.problem(this.problem);
      const mayTry = ["offline", "cancelled", "full", "too_slow", "broken_off", "failed", "strange"].includes(code);
      this.state.replaceChildren(make("p", { class: "trouble" }, sentence), mayTry ? plain("again", () => this.page.again(this)) : "");
    } else if (!this.answer) {
      const [key, value] = this.how;
      const holes = key === "sending" ? { percent: speaker.percent(value) } : { n: value };
      const waves = make("span", { class: "waves", "aria-hidden": "true" }, ...Array.from({ length: 5 }, () => make("i")));
      this.state.replaceChildren(make("p", {}, waves, speaker.say(key, holes)), plain("cancel", () => this.leave.abort()));
    }
  }

  nameOf(one) {
    return this.page.speaker.name(one.code, one.name);
  }

  updateNamed() {
    const { speaker } = this.page;
    const named = this.decision.instruments.filter((one) => one.decided);
    const chip = (code, name, below) => make("li", {}, make("span", { class: "round" }, icon(code)), make("span", { class: "what" }, make("b", {}, name), make("small", {}, below)));
    this.named.replaceChildren(
      ...(named.length
        ? named.map((one) => chip(one.code, this.nameOf(one), speaker.percent(one.confidence)))
        : [chip("", speaker.say("nothing"), speaker.say("nothing_help"))]),
    );
    this.named.classList.toggle("nothing", !named.length);
  }

  sentence() {
    const { speaker } = this.page;
    const named = this.decision.instruments.filter((one) => one.decided);
    const instruments = speaker.list(named.map((one) => `${this.nameOf(one)} ${speaker.percent(one.confidence)}`));
    return speaker.say(named.length ? "hears" : "hears_nothing", { name: this.recording.name, instruments });
  }

  updateRows() {
    const { speaker } = this.page;
    const { timeline, seconds } = this.answer;
    // In the order of the first answer, so that rows do not jump while a slider moves.
    const of = Object.fromEntries(this.decision.instruments.map((one) => [one.code, one]));
    const isSingle = this.answer.rule.task === "single_label" && this.page.wish.cutoff === null && this.page.wish.fraction === null;
    const rows = this.order.map((code) => {
      const one = of[code];
      const own = this.decision.segments?.filter((segment) => segment.code === code) ?? [];
      const column = timeline?.codes.indexOf(code);
      const lane = timeline
        ? timeLane(timeline.probabilities.map((row) => row[column]), timeline.borders, seconds, own, one.cutoff)
        : confidenceLane(one.confidence, isSingle ? null : one.cutoff, one.decided);
      const when = own.map(({ start, end }) => speaker.say("from_to", { start: clock(start), end: clock(end) })).join(", ");
      const spoken = [speaker.say(one.decided ? "named" : "not_named"), ...(timeline ? [when || speaker.say("never")] : [])].join(", ");
      const row = make(
        "li",
        { class: one.decided ? "is-named" : null, "data-code": code },
        make("span", { class: "label" }, icon(code), make("span", {}, this.nameOf(one))),
        make("span", { class: timeline ? "lane" : "lane is-bar" }, lane),
        make("span", { class: "value" }, speaker.percent(one.confidence)),
        make("span", { class: "unseen" }, spoken),
      );
      row.segments = own;
      return row;
    });
    this.rows.replaceChildren(...rows);
    this.rows.setAttribute("aria-label", this.summary.textContent);
    this.player.setTicks(timeline || this.player.hasPicture ? ticks(seconds, innerWidth < 640 ? 5 : 10) : [], seconds);
    this.note.hidden = timeline !== null;
    const { clip_seconds: clip = null } = this.page.modelOf(this.answer.model.id) ?? {};
    if (!timeline) this.note.textContent = clip === null ? speaker.say("clip_whole") : speaker.say("clip_note", { seconds: speaker.seconds(clip) });
  }

  markNow(time) {
    for (const row of this.rows.children) {
      row.classList.toggle("is-now", time !== null && row.segments.some(({ start, end }) => start <= time && time < end));
    }
  }

  updateFoot() {
    const { speaker, wish } = this.page;
    const { name } = this.recording;
    const stem = name.replace(/\.[^.]*$/, "");
    const button = (key, ending, kind, text) =>
      make(
        "button",
        { type: "button", "data-save": key, "aria-label": speaker.say("save_help", { what: speaker.say(key), name }), onclick: () => files.save(`${stem}${ending}`, kind, text()) },
        speaker.say(key),
      );
    const ms = speaker.number(1000 * this.answer.timings.total);
    const { experiment, model } = this.answer.model;
    const took = speaker.say("took", { ms, model: this.answer.model.id ?? `${experiment}:${model}` });
    this.foot.replaceChildren(
      make("span", { class: "hint" }, took),
      make(
        "span",
        { class: "saves" },
        make("span", { class: "hint" }, speaker.say("save")),
        button("save_json", ".json", "application/json", () => files.json(name, this.answer, this.decision, wish)),
        button("save_csv", ".csv", "text/csv", () => files.csv(name, this.decision)),
        this.answer.timeline ? button("save_windows", ".windows.csv", "text/csv", () => files.windows(name, this.answer.timeline)) : null,
      ),
    );
  }
}
