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

/// Decides an `answer` of `/api/v1/predict` again. `cutoff` is one threshold for all classes, `fraction` the share of windows that
/// must exceed it; null is the model's own. `classes` are the codes in the model's order, for an answer without a timeline. Returns
/// `instruments` in descending order of confidence, `segments`, `isVote` and the `fraction` of the vote.
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
  let decided;
  if (rule.task === "single_label" && isDefault) {
    decided = ranked.slice(0, 1);
  } else {
    decided = ranked.filter((one) => one.reaches).slice(0, rule.at_most ?? Infinity);
    if (decided.length === 0 && rule.at_least_one) decided = ranked.slice(0, 1);
  }
  const instruments = ranked.map(({ code, name, confidence, index }) => ({
    code, name, confidence, cutoff: cutoffs[index], decided: decided.some((one) => one.index === index),
  }));
  return { instruments, isVote, fraction: share, segments: timeline ? segments(rows, timeline, cutoffs) : null };
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
