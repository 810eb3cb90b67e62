// The rows of a result: one per class, with its probability over time. A row is read and played with the pointer or the keyboard.

import { make } from "./dom.js";
import { icon } from "./icons.js";
import { scoreLane, timeLane } from "./lane.js";
import { scoreText, whatScore } from "./meaning.js";
import { inPart, namedOf } from "./rule.js";
import { clock } from "./texts.js";

/// With more classes than `FOLD`, only what was found and the `LEAST` likeliest have a row until all are asked for.
const [FOLD, LEAST] = [12, 5];

export class Rows {
  constructor(page, player) {
    Object.assign(this, { page, player, showAll: false, reached: null });
    this.list = make("ol", { class: "rows" });
    this.more = make("button", { type: "button", class: "plain more", onclick: () => this.toggle() });
    this.legend = make("p", { class: "hint legend" });
    this.reading = make("span", { class: "reading", "aria-hidden": "true", hidden: true });
    this.element = make("div", {}, this.list, this.more, this.legend);
  }

  toggle() {
    this.showAll = !this.showAll;
    this.update(...this.last);
  }

  /// The rows keep the order of the response, so that they do not jump while a slider moves.
  update(answer, decision, label) {
    this.last = [answer, decision, label];
    const order = answer.instruments.map(({ code }) => code);
    const { translator } = this.page;
    const byCode = new Map(decision.instruments.map((one) => [one.code, one]));
    const isFolded = order.length > FOLD && !this.showAll;
    const found = new Set([...namedOf(decision), ...inPart(decision).map(({ one }) => one)].map(({ code }) => code));
    const shown = isFolded ? order.filter((code, rank) => found.has(code) || rank < LEAST) : order;
    const focused = this.list.contains(document.activeElement) ? document.activeElement.closest("li").dataset.code : null;
    const read = this.list.contains(this.reading) ? this.reading.closest("li").dataset.code : null;
    this.list.replaceChildren(...shown.map((code) => this.row(byCode.get(code), answer, decision)));
    // The value under a resting pointer stays.
    if (read !== null) this.list.querySelector(`[data-code="${CSS.escape(read)}"]`)?.append(this.reading);
    this.list.setAttribute("aria-label", label);
    if (focused !== null) this.list.querySelector(`[data-code="${CSS.escape(focused)}"] .lane`)?.focus();
    this.more.hidden = order.length <= FOLD;
    this.more.setAttribute("aria-expanded", String(!isFolded));
    this.more.textContent = isFolded ? translator.text("show_all", { n: translator.number(order.length) }) : translator.text("show_fewer");
    const values = { window: translator.seconds(answer.timeline?.window ?? 0), what: whatScore(translator, decision) };
    this.legend.textContent = translator.text(decision.score === "share" ? "legend_share" : "legend_reach", values);
  }

  row(one, { timeline }, decision) {
    const { translator } = this.page;
    const segments = decision.segments?.filter(({ code }) => code === one.code) ?? [];
    const name = translator.name(one.code, one.name);
    const when = segments.map(({ start, end }) => translator.text("from_to", { start: clock(start), end: clock(end) })).join(", ");
    const spoken = [scoreText(translator, decision, one), translator.text(one.decided ? "named" : segments.length ? "named_in_part" : "not_named"), ...(timeline ? [when || translator.text("never_above")] : [])];
    const row = make(
      "li",
      { class: one.decided ? "is-named" : segments.length ? "is-part" : null, "data-code": one.code },
      make("span", { class: "label" }, icon(one.code, one.name), make("span", { class: "name", title: name }, name)),
      timeline ? this.timeLane(one, timeline, segments, name) : make("span", { class: "lane is-bar" }, scoreLane(one.confidence, one.threshold, one.decided)),
      make("span", { class: "value", "aria-hidden": "true" }, translator.percent(one.confidence)),
      make("span", { class: "unseen" }, spoken.join(", ")),
    );
    row.segments = segments;
    return row;
  }

  timeLane(one, { codes, borders, probabilities }, segments, name) {
    const { view } = this.player;
    const c = codes.indexOf(one.code);
    const column = probabilities.map((row) => row[c]);
    const lane = make(
      "span",
      { class: "lane", role: "slider", tabindex: "0", "aria-label": name, "aria-valuemin": "0", "aria-valuemax": String(view.seconds) },
      timeLane(column, borders, view, segments, one.cutoff),
    );
    const windowAt = (time) => Math.max(0, borders.findLastIndex((border) => border <= time));
    const loudest = column.indexOf(Math.max(...column));
    // A row is read from the position of playback, or from its highest window.
    let [window, time] = [null, 0];
    const read = (at, isShown = true) => {
      [window, time] = [Math.min(windowAt(at), column.length - 1), at];
      const { translator } = this.page;
      const value = { time: clock(time), score: translator.percent(column[window]) };
      lane.setAttribute("aria-valuenow", time.toFixed(1));
      lane.setAttribute("aria-valuetext", translator.text(column[window] > Math.fround(one.cutoff) ? "value_at_above" : "value_at", value));
      if (isShown) this.showReading(lane, view.share(time), translator.text("value_at", value));
    };
    const position = ({ clientX }) => {
      const { left, width } = lane.getBoundingClientRect();
      return view.time(Math.min(1, Math.max(0, (clientX - left) / width)));
    };
    read(borders[loudest], false);
    lane.addEventListener("focus", () => {
      const at = this.reached ?? (this.player.at > 0 ? this.player.at : borders[loudest]);
      read(Math.min(view.end, Math.max(view.start, at)));
    });
    lane.addEventListener("blur", () => (this.reading.hidden = true));
    lane.addEventListener("pointermove", (event) => read(position(event)));
    lane.addEventListener("pointerleave", () => (this.reading.hidden = true));
    lane.addEventListener("click", (event) => {
      read(position(event));
      this.player.playFrom(time);
    });
    lane.addEventListener("keydown", (event) => {
      const to = { ArrowLeft: window - 1, ArrowDown: window - 1, ArrowRight: window + 1, ArrowUp: window + 1, PageUp: window - 10, PageDown: window + 10, Home: 0, End: column.length - 1 }[event.key];
      if (to !== undefined) {
        read(borders[Math.min(column.length - 1, Math.max(0, to))]);
        // Draws the rows again, of which the same has the focus.
        if (!view.contains(time)) {
          this.reached = time;
          this.player.show(time);
          this.reached = null;
        }
      }
      else if (event.key === "Enter" || event.key === " ") this.player.playFrom(time);
      else return;
      event.preventDefault();
    });
    return lane;
  }

  /// The value under the pointer, above its row.
  showReading(lane, share, text) {
    this.reading.textContent = text;
    this.reading.hidden = false;
    lane.parentElement?.append(this.reading);
    this.reading.style.left = `${lane.offsetLeft + share * lane.offsetWidth}px`;
    this.reading.style.top = `${lane.offsetTop}px`;
    this.reading.classList.toggle("is-left", share > 0.5);
  }

  markNow(time) {
    for (const row of this.list.children) {
      row.classList.toggle("is-now", time !== null && row.segments.some(({ start, end }) => start <= time && time < end));
    }
  }
}
