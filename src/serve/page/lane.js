// The graphics of a row: probability over time, or a score as a bar.

import { shape } from "./dom.js";

const WIDE = 1000;
const HIGH = 100;

/// Probabilities over time as steps between the borders, with an outline: segments strong, the rest faint, the threshold as a line.
export const timeLane = (probabilities, borders, seconds, segments, cutoff) => {
  const x = (time) => ((WIDE * time) / seconds).toFixed(2);
  const area = (from, to) => {
    let path = "";
    for (let w = 0; w < probabilities.length; w++) {
      const [left, right] = [Math.max(from, borders[w]), Math.min(to, borders[w + 1])];
      if (right <= left) continue;
      path += `M${x(left)} ${HIGH}V${(HIGH * (1 - probabilities[w])).toFixed(1)}H${x(right)}V${HIGH}z`;
    }
    return path;
  };
  const outline = probabilities.map((p, w) => `${w ? "L" : "M"}${x(borders[w])} ${(HIGH * (1 - p)).toFixed(1)}H${x(borders[w + 1])}`).join("");
  return shape(
    "svg",
    { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", class: "steps", "aria-hidden": "true" },
    shape("path", { class: "faint", d: area(0, seconds) }),
    shape("path", { class: "outline", d: outline, "vector-effect": "non-scaling-stroke" }),
    shape("path", { class: "strong", d: segments.map(({ start, end }) => area(start, end)).join("") }),
    shape("path", { class: "cut", d: `M0 ${HIGH * (1 - cutoff)}H${WIDE}`, "vector-effect": "non-scaling-stroke" }),
  );
};

/// A score as a bar, with its threshold as a line.
export const scoreLane = (score, threshold, isNamed) =>
  shape(
    "svg",
    { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", class: "steps", "aria-hidden": "true" },
    shape("path", { class: isNamed ? "strong" : "faint", d: `M0 30H${WIDE * score}V70H0z` }),
    ...(isNamed ? [] : [shape("path", { class: "outline", d: `M0 30H${WIDE * score}V70H0z`, "vector-effect": "non-scaling-stroke" })]),
    ...(threshold === null ? [] : [shape("path", { class: "cut", d: `M${WIDE * threshold} 0V${HIGH}`, "vector-effect": "non-scaling-stroke" })]),
  );

/// At most `most` round times for an axis.
export const ticks = (seconds, most) => {
  const steps = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
  const step = steps.find((step) => seconds / step <= most) ?? 7200;
  return Array.from({ length: Math.floor(seconds / step + 1e-9) + 1 }, (_, i) => i * step);
};
