// Decisions and segments in the browser, by the rules of the server (`aggregation.rs`, `timeline.rs`), so that sliders need no
// request. The server compares in f32: `Math.fround` restores the f32 value of a probability and rounds a threshold.

const OFF_SHARE = 0.8;
const SHORTEST = 1;
const BRIDGE = 1;
const SAME = 1e-6;

/// `p` is an f32 value.
const isAbove = (p, cutoff) => p > Math.fround(cutoff);
const reaches = (p, cutoff) => p >= Math.fround(cutoff);

/// Strictly more than `fraction` of the windows.
const isEnough = (votes, windows, fraction) => votes / windows > fraction;

/// The ways to decide an `answer`, the model's own first: `top` names the most likely class, `reach` all whose score reaches a
/// threshold, `share` all that are above a threshold in more than a share of the windows.
export const kindsOf = ({ rule, timeline }) => {
  const isVote = timeline !== null && rule.aggregate === "vote";
  const own = rule.task === "single_label" ? "top" : isVote ? "share" : "reach";
  // The server has no other score for the windows of a model that votes.
  const others = !timeline ? ["reach"] : isVote ? ["share"] : ["reach", "share"];
  return [own, ...others.filter((kind) => kind !== own)];
};

/// What `decide` overrides for the settings of the page; null is the model's own. A model without the chosen `kind` keeps its own.
export const overridesOf = (answer, { kind, cutoff, fraction }) => {
  const kinds = kindsOf(answer);
  const chosen = kinds.includes(kind) ? kind : kinds[0];
  if (chosen === "top") return { cutoff: null, fraction: null };
  // Without a value the server would decide a single-label model by its own rule.
  const threshold = cutoff ?? (kinds[0] === "top" ? (answer.rule.cutoffs[0] ?? 0.5) : null);
  if (chosen === "reach") return { cutoff: threshold, fraction: null };
  return { cutoff: threshold, fraction: fraction ?? (kinds[0] === "share" ? null : answer.rule.window_fraction) };
};

/// Decides an `answer` of `/api/v1/predict` again. `cutoff` is one threshold for all classes, `fraction` the share of windows that
/// must exceed it; null is the model's own. `classes` are the codes in the model's order, for an answer without a timeline. Returns
/// - `instruments` in descending order of confidence, each with the `threshold` of its confidence (null if there is none),
/// - `segments`,
/// - `kind`: how was decided (see `kindsOf`),
/// - `score`: what a confidence is: `share` (of the windows above `cutoff`), `probability`, or the aggregate of the windows,
/// - the `fraction` of a vote.
export const decide = (answer, { cutoff = null, fraction = null } = {}, classes = null) => {
  const { rule, timeline } = answer;
  const own = Object.fromEntries(answer.instruments.map((one) => [one.code, one]));
  const codes = timeline?.codes ?? classes ?? answer.instruments.map((one) => one.code);
  const cutoffs = codes.map((_, c) => cutoff ?? rule.cutoffs[c] ?? 0.5);
  const rows = timeline ? timeline.probabilities.map((row) => row.map(Math.fround)) : null;
  const isVote = rows !== null && (fraction !== null || rule.aggregate === "vote");
  const share = fraction ?? rule.window_fraction;
  const scored = codes.map((code, c) => {
    if (!isVote) {
      const confidence = Math.fround(own[code].confidence);
      return { ...own[code], confidence, reaches: reaches(confidence, cutoffs[c]), index: c };
    }
    const votes = rows.filter((row) => isAbove(row[c], cutoffs[c])).length;
    return { ...own[code], confidence: Math.fround(votes / rows.length), reaches: isEnough(votes, rows.length, share), index: c };
  });
  const ranked = scored.sort((a, b) => b.confidence - a.confidence || a.index - b.index);
  const isDefault = cutoff === null && fraction === null;
  const kind = rule.task === "single_label" && isDefault ? "top" : isVote ? "share" : "reach";
  let decided = kind === "top" ? ranked.slice(0, 1) : ranked.filter((one) => one.reaches).slice(0, rule.at_most ?? Infinity);
  if (decided.length === 0 && rule.at_least_one) decided = ranked.slice(0, 1);
  const instruments = ranked.map(({ code, name, confidence, index }) => ({
    code,
    name,
    confidence,
    cutoff: cutoffs[index],
    threshold: { top: null, reach: cutoffs[index], share }[kind],
    decided: decided.some((one) => one.index === index),
  }));
  const score = isVote ? "share" : rows?.length > 1 ? rule.aggregate : "probability";
  return { instruments, kind, score, fraction: share, segments: timeline ? segments(rows, timeline, cutoffs) : null };
};

/// The classes that are named.
export const namedOf = ({ instruments }) => instruments.filter((one) => one.decided);

/// The classes with segments that are not decided, in order of time: `one`, the `first` second, and the `seconds` in all.
export const inPart = ({ instruments, segments }) => {
  const parts = new Map();
  for (const { code, start, end } of segments ?? []) {
    const part = parts.get(code) ?? { one: instruments.find((one) => one.code === code), first: start, seconds: 0 };
    part.seconds += end - start;
    parts.set(code, part);
  }
  return [...parts.values()].filter(({ one }) => !one.decided);
};

/// Hundredths of f32 values are not exact.
const ROUNDING = 1e-4;
/// The largest hundredth below a value.
const below = (value) => (Math.ceil(100 * value - ROUNDING) - 1) / 100;

/// Why nothing is decided, by the class that is nearest: the `control` that matters, the class (`one`), its `score`, what is `needed`,
/// the second (`at`) of its highest probability, and a `setting` of the control that decides it (null if there is none).
export const shortfall = ({ instruments, kind, fraction }, { timeline }) => {
  if (kind === "reach") {
    const one = instruments.reduce((best, one) => (one.confidence - one.cutoff > best.confidence - best.cutoff ? one : best));
    const setting = Math.floor(100 * one.confidence + ROUNDING) / 100;
    return { control: "cutoff", one, score: one.confidence, needed: one.cutoff, at: null, setting: setting > 0 && reaches(one.confidence, setting) ? setting : null };
  }
  const [first] = instruments;
  if (first.confidence > 0) {
    return { control: "fraction", one: first, score: first.confidence, needed: fraction, at: null, setting: below(first.confidence) };
  }
  // No window of any class is above its threshold.
  const peaks = timeline.codes.map((code, c) => {
    const one = instruments.find((one) => one.code === code);
    const column = timeline.probabilities.map((row) => Math.fround(row[c]));
    const score = Math.max(...column);
    const votes = Math.floor(fraction * column.length + 1e-9) + 1;
    const least = [...column].sort((a, b) => b - a)[Math.min(votes, column.length) - 1];
    return { control: "cutoff", one, score, needed: one.cutoff, at: timeline.borders[column.indexOf(score)], setting: below(least) };
  });
  const nearest = peaks.reduce((best, peak) => (peak.score - peak.needed > best.score - best.needed ? peak : best));
  return nearest.setting > 0 ? nearest : { ...nearest, setting: null };
};

/// Whether the most likely class is hardly likelier than in an even guess among all classes.
export const isEvenGuess = ({ instruments, kind, score }) => {
  const even = 1 / instruments.length;
  return kind === "top" && !["share", "max", "loudest"].includes(score) && (instruments[0].confidence - even) / (1 - even) < 0.05;
};

/// Segments of each class: they start above its threshold and continue at 0.8 of it or more.
const segments = (rows, { codes, borders }, cutoffs) => {
  const found = [];
  const between = (from, to) => borders[to] - borders[from];
  codes.forEach((code, c) => {
    const joined = [];
    for (const run of runs(rows.map((row) => row[c]), cutoffs[c], OFF_SHARE * cutoffs[c])) {
      const last = joined.at(-1);
      if (last && between(last[1], run[0]) <= BRIDGE + SAME) last[1] = run[1];
      else joined.push(run);
    }
    for (const [from, to] of joined.filter(([from, to]) => between(from, to) >= SHORTEST - SAME)) {
      let [weighted, plain] = [0, 0];
      for (let w = from; w < to; w++) {
        weighted += rows[w][c] * between(w, w + 1);
        plain += rows[w][c];
      }
      const long = between(from, to);
      found.push({ code, start: borders[from], end: borders[to], confidence: long > 0 ? weighted / long : plain / (to - from) });
    }
  });
  return found.sort((a, b) => a.start - b.start || codes.indexOf(a.code) - codes.indexOf(b.code));
};

const runs = (probabilities, on, off) => {
  const found = [];
  let start = null;
  probabilities.forEach((p, w) => {
    if (start === null) {
      if (isAbove(p, on)) start = w;
    } else if (!reaches(p, off)) {
      found.push([start, w]);
      start = isAbove(p, on) ? w : null;
    }
  });
  if (start !== null) found.push([start, probabilities.length]);
  return found;
};
