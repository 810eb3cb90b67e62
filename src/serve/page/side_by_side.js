// The results of all models of the server for one recording, side by side: one row per class, one column per model.

import { make } from "./dom.js";
import { isUnlikeTraining, whatScore } from "./meaning.js";
import { decide, namedOf, overridesOf } from "./rule.js";
import { predict, Problem } from "./send.js";

/// Classes of each model that have a row beside those that it names.
const TOP = 3;

export class SideBySide {
  /// `recording` has a `name` and a `blob`. `page` provides `translator`, `models`, `choice`, `token`, `announce(sentence)` and `classesOf(id)`.
  constructor(recording, page) {
    Object.assign(this, { recording, page, answers: new Map(), problems: new Map(), isAsked: false });
    this.button = make("button", { type: "button", class: "plain", onclick: () => this.ask() });
    this.table = make("div", { class: "table", tabindex: "0", role: "region", hidden: true });
    this.element = make("div", { class: "side-by-side" }, this.button, this.table);
  }

  /// Asks the models that have not answered yet, one after the other. `answer` is the result that the card has.
  async ask() {
    this.isAsked = true;
    this.problems.clear();
    this.update();
    for (const { id } of this.page.models) {
      if (this.answers.has(id)) continue;
      try {
        this.answers.set(id, await predict(this.recording, { model: id, token: this.page.token }, () => {}, this.abort.signal));
      } catch (problem) {
        if (!(problem instanceof Problem)) throw problem;
        if (problem.code === "cancelled") return;
        this.problems.set(id, problem);
      }
      this.update();
    }
    this.page.announce(this.page.translator.text("all_models_done", { name: this.recording.name }));
  }

  /// Takes the result that the card shows.
  take(answer, abort) {
    this.abort = abort;
    this.answers.set(answer.model.id, answer);
  }

  update() {
    const { translator, models } = this.page;
    this.element.hidden = (models?.length ?? 0) < 2;
    if (this.element.hidden) return;
    const isFocused = document.activeElement === this.button;
    this.button.textContent = translator.text("all_models");
    this.button.hidden = this.isAsked && this.problems.size === 0;
    this.table.hidden = !this.isAsked;
    if (!this.isAsked) return;
    if (isFocused && this.button.hidden) this.table.focus();
    this.table.setAttribute("aria-label", translator.text("all_models_of", { name: this.recording.name }));
    this.table.replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, make("th", { scope: "col" }, translator.text("class")), ...models.map((model) => this.head(model)))), this.body()));
  }

  decisionOf(id) {
    const answer = this.answers.get(id);
    return answer && decide(answer, overridesOf(answer, this.page.choice), this.page.classesOf(id));
  }

  head({ id }) {
    const { translator } = this.page;
    const [answer, problem] = [this.answers.get(id), this.problems.get(id)];
    const decision = this.decisionOf(id);
    const below = answer ? (decision.score === "share" ? translator.text("share_of_recording") : whatScore(translator, decision)) : problem ? translator.problem(problem, { mib: "", minutes: "" }) : translator.text("analysing");
    const unlike = answer && isUnlikeTraining(answer) ? make("small", { class: "warning" }, translator.text("heading_unlike")) : null;
    return make("th", { scope: "col" }, make("span", { class: "model-id" }, id), make("small", {}, below), unlike);
  }

  body() {
    const { translator, models } = this.page;
    const decisions = models.map(({ id }) => this.decisionOf(id));
    const rows = new Map();
    for (const decision of decisions.filter(Boolean)) {
      const shown = new Set([...namedOf(decision), ...decision.instruments.slice(0, TOP)]);
      for (const one of shown) rows.set(one.code, { one, most: Math.max(one.confidence, rows.get(one.code)?.most ?? 0) });
    }
    const cell = (decision, code) => {
      const one = decision?.instruments.find((one) => one.code === code);
      if (!one) return make("td", {}, decision ? "–" : "");
      const bar = make("meter", { min: "0", max: "1", value: String(one.confidence), "aria-hidden": "true" });
      const value = make("span", {}, translator.percent(one.confidence), one.decided ? make("span", { class: "unseen" }, ` ${translator.text("named")}`) : null);
      return make("td", { class: one.decided ? "is-named" : null }, bar, value);
    };
    const sorted = [...rows.values()].sort((a, b) => b.most - a.most);
    return make("tbody", {}, ...sorted.map(({ one }) => make("tr", {}, make("th", { scope: "row" }, translator.name(one.code, one.name)), ...decisions.map((decision) => cell(decision, one.code)))));
  }
}
