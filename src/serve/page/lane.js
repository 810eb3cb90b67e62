// The graphics of a row: probability over time, or a score as a bar.

import { shape } from "./dom.js";

const WIDE = 1000;
const HIGH = 100;

const lane = (...paths) => shape("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", class: "steps", "aria-hidden": "true" }, ...paths);
/// A filled area, and a line of the same width at every size.
const filled = (kind, d) => shape("path", { class: kind, d });
const stroked = (kind, d) => shape("path", { class: kind, d, "vector-effect": "non-scaling-stroke" });

/// Probabilities over time as steps between the borders, with an outline: segments strong, the rest faint, the threshold as a line.
/// Only the `view` is drawn.
export const timeLane = (probabilities, borders, view, segments, cutoff) => {
  const x = (time) => (WIDE * view.share(time)).toFixed(2);
  // The windows of the view.
  const first = Math.max(0, borders.findLastIndex((border) => border <= view.start));
  const last = borders.findIndex((border) => border >= view.end);
  const shown = [first, last < 0 ? probabilities.length : last];
  const area = (from, to) => {
    let path = "";
    for (let w = shown[0]; w < shown[1]; w++) {
      const [left, right] = [Math.max(from, borders[w]), Math.min(to, borders[w + 1])];
      if (right <= left) continue;
      path += `M${x(left)} ${HIGH}V${(HIGH * (1 - probabilities[w])).toFixed(1)}H${x(right)}V${HIGH}z`;
    }
    return path;
  };
  const step = (p, i) => `${i ? "L" : "M"}${x(borders[shown[0] + i])} ${(HIGH * (1 - p)).toFixed(1)}H${x(borders[shown[0] + i + 1])}`;
  const outline = probabilities.slice(...shown).map(step).join("");
  return lane(
    filled("faint", area(view.start, view.end)),
    stroked("outline", outline),
    filled("strong", segments.map(({ start, end }) => area(Math.max(start, view.start), Math.min(end, view.end))).join("")),
    stroked("cut", `M0 ${HIGH * (1 - cutoff)}H${WIDE}`),
  );
};

/// A score as a bar, with its threshold as a line.
export const scoreLane = (score, threshold, isNamed) => {
  const bar = `M0 30H${WIDE * score}V70H0z`;
  return lane(
    filled(isNamed ? "strong" : "faint", bar),
    ...(isNamed ? [] : [stroked("outline", bar)]),
    ...(threshold === null ? [] : [stroked("cut", `M${WIDE * threshold} 0V${HIGH}`)]),
  );
};

/// At most `most` round times of a view for an axis.
export const ticks = ({ start, end, length }, most) => {
  const steps = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
  const step = steps.find((step) => length / step <= most) ?? 7200;
  const first = Math.ceil(start / step - 1e-9);
  return Array.from({ length: Math.floor(end / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
};
