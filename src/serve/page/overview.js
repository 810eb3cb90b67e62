// The table of several recordings: progress, results, saving and removing all of them.

import { make } from "./dom.js";
import * as files from "./save.js";
import { clock } from "./texts.js";

export class Overview {
  /// `page` provides `translator`, `cards` and `remove(card)`.
  constructor(element, page) {
    Object.assign(this, { element, page });
    this.title = make("h2");
    this.bar = make("progress");
    this.body = make("tbody");
    this.head = make("tr");
    this.table = make("table", { class: "overview" }, make("thead", {}, this.head), this.body);
    this.acts = make("p", { class: "saves" });
    this.element.append(make("div", { class: "overview-head" }, this.title, this.bar), this.table, this.acts);
  }

  update() {
    const { translator, cards } = this.page;
    const { text } = translator;
    this.element.hidden = cards.length < 2;
    if (this.element.hidden) return;
    const done = cards.filter((card) => card.isDone).length;
    const counts = { done: translator.number(done), all: translator.number(cards.length) };
    this.title.textContent = text(done < cards.length ? "overview_progress" : "overview_done", counts);
    this.bar.hidden = done === cards.length;
    Object.assign(this.bar, { max: cards.length, value: done });
    this.bar.setAttribute("aria-label", this.title.textContent);
    this.table.setAttribute("aria-label", text("answers"));
    this.head.replaceChildren(...["overview_recording", "overview_length", "overview_result", "heading_part"].map((key) => make("th", { scope: "col" }, text(key))));
    const focused = this.body.contains(document.activeElement) ? [...this.body.rows].findIndex((row) => row.contains(document.activeElement)) : -1;
    this.body.replaceChildren(...cards.map((card) => this.row(card)));
    if (focused >= 0) this.body.rows[focused]?.querySelector("button").focus();
    const answered = cards.filter((card) => card.answer);
    const act = (key, run) => make("button", { type: "button", "data-save": key, onclick: run, disabled: key !== "remove_all" && answered.length === 0 }, text(key));
    const isFocused = this.acts.contains(document.activeElement) ? document.activeElement.dataset.save : null;
    this.acts.replaceChildren(
      act("save_all_csv", () => files.save("timbre.csv", "text/csv", files.csv(this.saved))),
      act("save_all_json", () => files.save("timbre.json", "application/json", files.json(this.saved))),
      act("remove_all", () => [...this.page.cards].forEach((card) => this.page.remove(card))),
    );
    if (isFocused) this.acts.querySelector(`[data-save="${isFocused}"]`).focus();
  }

  get saved() {
    return this.page.cards.filter((card) => card.answer).map((card) => card.saved);
  }

  row(card) {
    const { translator } = this.page;
    const go = () => {
      if (card.answer) card.details.open = true;
      card.title.focus();
      card.element.scrollIntoView({ block: "start" });
    };
    const name = make("th", { scope: "row" }, make("button", { type: "button", class: "plain", onclick: go }, card.recording.name));
    if (!card.answer) {
      const state = card.problem ? make("td", { class: "trouble", colspan: "3" }, card.problemSentence()) : make("td", { class: "hint", colspan: "3" }, translator.text(card.isSending ? "analysing" : "queued"));
      return make("tr", {}, name, state);
    }
    const parts = card.partsText();
    const result = card.classes() || translator.text("nothing");
    return make("tr", {}, name, make("td", {}, clock(card.answer.seconds)), make("td", {}, card.warning.hidden ? result : `${card.heading.textContent}: ${result}`), make("td", { class: parts ? null : "is-none", "data-head": translator.text("heading_part") }, parts || "–"));
  }
}
