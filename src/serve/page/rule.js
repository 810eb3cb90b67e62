// What is decided of a recording, and from when to when: the rules of the server (`decisions.rs`, `timeline.rs`) in the browser, so
// that a slider asks nobody. Probabilities are f32 there: `Math.fround` gives back what their shortest decimals stand for.

const OFF_SHARE = 0.8;
const SHORTEST = 1;
const BRIDGE = 1;
const SAME = 1e-6;

/// Whether so many of the windows are enough: strictly more than the fraction.
const isEnough = (votes, windows, fraction) => votes / windows > fraction;

/// Decides `answer` (of `/api/v1/predict`) again. `wish.cutoff` is one cut-off for all classes and `wish.fraction` the share of the
/// windows that has to exceed it; null is the model's own. `classes` are the codes of the model in its order, for an answer without
/// a timeline. Gives `instruments`, the most confident first, `segments`, `isVote` and the `fraction` of that vote.
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
      return { ...own[code], confidence, reaches: confidence >= cutoffs[c], place: c };
    }
    const votes = rows.filter((row) => row[c] > cutoffs[c]).length;
    return { ...own[code], confidence: Math.fround(votes / rows.length), reaches: isEnough(votes, rows.length, share), place: c };
  });
  const ranked = scored.sort((a, b) => b.confidence - a.confidence || a.place - b.place);
  const isOwn = cutoff === null && fraction === null;
  let decided;
  if (rule.task === "single_label" && isOwn) {
    decided = ranked.slice(0, 1);
  } else {
    decided = ranked.filter((one) => one.reaches).slice(0, rule.at_most ?? Infinity);
    if (decided.length === 0 && rule.at_least_one) decided = ranked.slice(0, 1);
  }
  const instruments = ranked.map(({ code, name, confidence, place }) => ({
    code, name, confidence, cutoff: cutoffs[place], decided: decided.some((one) => one.place === place),
  }));
  return { instruments, isVote, fraction: share, segments: timeline ? segments(rows, timeline, cutoffs) : null };
};

/// The stretches in which a class is heard: begun by more than its cut-off, kept up by at least 0.8 of it.
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
  let begun = null;
  probabilities.forEach((p, w) => {
    if (begun === null) {
      if (p > on) begun = w;
    } else if (p < off) {
      found.push([begun, w]);
      begun = p > on ? w : null;
    }
  });
  if (begun !== null) found.push([begun, probabilities.length]);
  return found;
};
