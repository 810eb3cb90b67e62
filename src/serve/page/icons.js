// Icons of instruments, drawn for this page: lines in the colour of the text, and `soft` shapes of the same colour, thinned.

import { shape } from "./dom.js";

const soft = (d) => `<path class="soft" d="${d}"/>`;
const line = (d) => `<path d="${d}"/>`;
const dot = (x, y, r = 1.4) => `<circle class="dot" cx="${x}" cy="${y}" r="${r}"/>`;
const both = (d) => soft(d) + line(d);
/// Tilted instruments use the diagonal and may be longer.
const turned = (degrees, inner, scale = 1.16) => `<g transform="translate(24 24) rotate(${degrees}) scale(${scale}) translate(-24 -24)">${inner}</g>`;

const violinBody =
  "M24 19c-4 0-6.5 1.8-6.5 5 0 2 1.3 2.7 1.3 4.3S16 31 16 35.2C16 40 19.5 42.5 24 42.5s8-2.5 8-7.3c0-4.2-2.8-5.3-2.8-6.9s1.3-2.3 1.3-4.3c0-3.2-2.5-5-6.5-5z";

/// Contents of an SVG of 48 by 48, by IRMAS code.
const drawings = {
  cel:
    both("M24 15c-5 0-7.8 2-7.8 5.6 0 2.3 1.5 3 1.5 4.9S14 28.5 14 33.2C14 38.6 18.3 41 24 41s10-2.4 10-7.8c0-4.7-3.7-5.8-3.7-7.7s1.5-2.6 1.5-4.9C31.8 17 29 15 24 15z") +
    line("M24 33V4.5M21.5 4.5h5M24 41v5.5M20.3 26c1.6 1 .4 4 2 5M27.7 26c-1.6 1-.4 4-2 5M22.7 33h2.6l-.5 4.5h-1.6zM21 8h6M21 11h6"),
  cla:
    turned(40, both("M22.3 8h3.4v29l3.8 6.5h-11l3.8-6.5z") + line("M24 8V2.5M22.3 13h3.4M22.3 35h3.4") + dot(24, 18) + dot(24, 23) + dot(24, 28) + line("M28.5 20.5h2.5v6")),
  flu:
    turned(-28, both("M2.5 21.8h43a1.5 1.5 0 0 1 1.5 1.5v1.4a1.5 1.5 0 0 1-1.5 1.5h-43z") + line("M14.5 21.8v4.4M36 21.8v4.4") + `<ellipse cx="8.8" cy="24" rx="1.7" ry="1"/>` + dot(19, 24) + dot(23.5, 24) + dot(28, 24) + dot(32, 24) + line("M21 21.8v-2.6h5.5"), 1.04),
  gac:
    turned(38, both("M24 17.5c-4.3 0-6.8 2-6.8 5.2 0 2.3 1 3 1 4.3s-3.2 2.6-3.2 7.4c0 5.1 3.8 8.1 9 8.1s9-3 9-8.1c0-4.8-3.2-6.1-3.2-7.4s1-2 1-4.3c0-3.2-2.5-5.2-6.8-5.2z") + `<circle cx="24" cy="29" r="3.3"/>` + line("M20 37h8M22.6 25.8V7h2.8v18.8M21.6 7V1.5h4.8V7zM20 3h1.6M20 5.5h1.6M26.4 3H28M26.4 5.5H28")),
  gel:
    turned(38, both("M20 23.5c-2-3.3-5.2-3-5.2-.2 0 2.6 2.4 3.7 2.4 6.2s-3 3.3-3 7.2c0 4.2 4.6 6.1 9.8 6.1s9.8-1.9 9.8-6.1c0-3.9-3-4.7-3-7.2s2.4-4.6 2.4-8.2c0-3.6-3.8-3-5.2 1.7l-1.8 2.5h-4.4z") + line("M22.6 25V7.5h2.8V25M22.6 7.5 21.2 1.5l6 1.2-1.8 4.8M19.5 29.5h9M19.5 33.5h9M20.5 38h7") + dot(30, 37, 1.2)),
  org:
    soft("M8 18h6v20H8zM16 11h5v27h-5zM21 6h6v32h-6zM27 11h5v27h-5zM34 18h6v20h-6z") +
    line("M5 43h38M5 38h38v5H5zM8 38V18.5l3-3 3 3V38M14.5 38V12.5l3-3 3 3V38M21 38V7l3-3 3 3v31M27.5 38V12.5l3-3 3 3V38M34 38V18.5l3-3 3 3V38M9.7 31h2.6M16.2 31h2.6M22.7 31h2.6M29.2 31h2.6M35.7 31h2.6"),
  pia:
    soft("M6 28C6 13 10.5 6 18 6s8.5 5.5 10.5 9.5S36 20 39.5 22c2 1.2 2.5 3.5 2.5 6z") +
    line("M6 36V28C6 13 10.5 6 18 6s8.5 5.5 10.5 9.5S36 20 39.5 22c2 1.2 2.5 3.5 2.5 6v8zM6 28h36M12 28v4.5M17 28v4.5M22 28v4.5M27 28v4.5M32 28v4.5M37 28v4.5M9 36v6M39 36v6"),
  sax:
    both("M13.5 6.5c3.3-1.3 6 .3 6.3 4L21.5 33c.3 3.6 1.7 5.2 4 5.2 2.5 0 3.8-1.7 4-4.7l.4-7.5-2.4-4.8 13-2.7-1.8 5-.9 11c-.6 6.7-4.8 10.5-11.8 10.5-7.3 0-11.3-4-12-11.5L12.3 11 7 12.5") +
    line("M17.5 17.5l4.5-.3M18 23l4.5-.3M18.4 28.5l4.3-.3") + dot(26, 42, 1.3) + dot(33.5, 30, 1.6),
  tru:
    both("M47 13c-2.8 5.5-6.5 7.5-11.5 7.5H8a2.5 2.5 0 0 0 0 0l-6-.3v3.6l6-.3h27.5c5 0 8.7 2 11.5 7.5z") +
    line("M9.5 23.5c-2.8 0-4.5 2-4.5 4.8s1.7 4.7 4.5 4.7h21c3 0 4.5-1.9 4.5-4.7s-1.5-4.8-4.5-4.8M2 18.5v7") +
    soft("M15 14.5h4V36h-4zM21.5 14.5h4V36h-4zM28 14.5h4V36h-4z") + line("M15 14.5h4V36h-4zM21.5 14.5h4V36h-4zM28 14.5h4V36h-4zM17 14.5V11M23.5 14.5V11M30 14.5V11M15 11h4M21.5 11h4M28 11h4"),
  vio:
    turned(-32, both(violinBody) + line("M24 19V7.5M22.4 4.5a1.6 1.6 0 1 1 3.2 0v3h-3.2zM20.5 9h7M20.8 28c1.4.8.4 3.4 1.8 4.2M27.2 28c-1.4.8-.4 3.4-1.8 4.2M22.7 34.5h2.6l-.5 4h-1.6z")) +
    line("M42 11 21 46M42 11l2.5-1.5"),
  voi:
    both("M21 42v-6h-4.5c-2.2 0-3.5-1.3-3.5-3.5V30l-2.6-1.3L14 22.5C14 13 19 7 26.5 7 34 7 39 12.5 39 20c0 6-3 8.5-3 13v9") +
    line("M13 31.5 17.5 29M9 35l-5 2.5M8.5 30.5 3 30.5M20.5 18.5c.8-1 2.2-1 3 0"),
};
const neutral = line("M6 21v6M12 15v18M18 9v30M24 17v14M30 5v38M36 14v20M42 20v8");

/// Words in the names of other classes that have a drawing.
const words = [
  ["gel", /electric.*guitar/i], ["gac", /guitar/i], ["cel", /\bcello|violoncello/i], ["vio", /\bviolin\b/i], ["cla", /\bclarinet/i], ["flu", /\bflute/i],
  ["org", /\borgan\b/i], ["pia", /\bpiano\b/i], ["sax", /\bsax(ophone)?\b/i], ["tru", /\btrumpet/i], ["voi", /\b(voice|vocals?|singing|singer|speech)\b/i],
];

/// The drawing of a class: codes of IRMAS have one if the server knows them by another name, other classes by a word in their name.
const drawingOf = (code, name) => (name !== code && Object.hasOwn(drawings, code) ? code : words.find(([, word]) => word.test((name ?? "").replaceAll("_", " ")))?.[0]);

/// The icon of a class as an `svg` element; a waveform for other sounds. Hidden from screen readers, because the name is next to it.
export const icon = (code, name) => {
  const drawing = drawingOf(code, name);
  const svg = shape("svg", { viewBox: "0 0 48 48", class: "icon", "aria-hidden": "true", "data-code": drawing ?? "neutral" });
  svg.innerHTML = drawings[drawing] ?? neutral;
  return svg;
};
