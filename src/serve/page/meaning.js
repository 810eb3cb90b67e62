// What an answer says, in words: every number with what it is, and why nothing is named.

import { isEvenGuess, shortfall } from "./rule.js";
import { clock } from "./texts.js";

/// What a score that is no share of the recording is, in words.
export const whatScore = (translator, { score }) => (score === "share" ? "" : translator.text(`what_${score}`));

/// "probability 41 %", "in 22 % of the recording".
export const scoreText = (translator, decision, one) =>
  translator.text(decision.score === "share" ? "score_share" : "score_reach", { what: whatScore(translator, decision), score: translator.percent(one.confidence) });

/// Whether a recording is unlike everything in training. Models that were saved without a distance do not say.
export const isUnlikeTraining = ({ training_distance }) => training_distance > 1;

const hasWindows = ({ timeline }) => timeline !== null && timeline.probabilities.length > 1;

/// The heading over the named classes.
export const heading = (translator, decision, answer) => {
  if (isUnlikeTraining(answer)) return translator.text("heading_unlike");
  if (decision.kind === "top") return translator.text(isEvenGuess(decision) ? "heading_even" : hasWindows(answer) ? "heading_top_windows" : "heading_top");
  // A share that the person chose may be far from all of the recording.
  if (decision.kind === "share" && decision.fraction !== answer.rule.window_fraction) return translator.text("heading_share", { fraction: translator.percent(decision.fraction) });
  return translator.text(hasWindows(answer) && decision.score !== "max" ? "heading_throughout" : "heading_present");
};

/// A sentence under the named classes, where their number alone would mislead; empty if none is needed.
export const warning = (translator, decision, answer) => {
  if (isUnlikeTraining(answer)) return translator.text("unlike_training", { distance: translator.number(answer.training_distance, 1) });
  if (!isEvenGuess(decision)) return "";
  const n = decision.instruments.length;
  const [score, even] = translator.percents(decision.instruments[0].confidence, 1 / n);
  return translator.text("even_guess", { n: translator.number(n), score, even });
};

/// How much of a recording there is, if its file is cut off; else empty.
export const cutOff = (translator, { seconds, cut_off }) => {
  if (!cut_off) return "";
  const whole = cut_off.declared_seconds;
  const values = { seconds: translator.seconds(seconds), whole: whole === null ? "" : translator.duration(Math.round(whole)) };
  return translator.text(whole === null ? "cut_off" : "cut_off_of", values);
};

/// Why nothing is named, and the setting that would name a class: `sentence`, `control`, `setting`.
export const whyNothing = (translator, decision, answer) => {
  const { control, one, score, needed, at, setting } = shortfall(decision, answer);
  const [have, need] = translator.percents(score, needed);
  const values = { name: translator.name(one.code, one.name), score: have, needed: need, cutoff: translator.percent(one.cutoff), what: whatScore(translator, decision), at: at === null ? "" : clock(at) };
  const key = control === "fraction" ? "nothing_share" : at === null ? "nothing_reach" : "nothing_windows";
  return { sentence: translator.text(key, values), control, setting };
};

/// Which model answers, and how far to trust it. `models` are those of the server.
export const trust = (translator, answer, models) => {
  const { text } = translator;
  const model = models?.find(({ id }) => id === answer.model.id);
  if (!model) return "";
  const members = model.members.map(({ id }) => models.find((other) => other.id === id)).filter(Boolean);
  const sources = [...new Set([model, ...members].map(({ data }) => data).filter(Boolean))];
  const data = translator.list(sources);
  if (sources.length && sources.every(isSynthetic)) return text("trust_synthetic", { data });
  const test = model.quality.find(({ split }) => split === "test");
  const value = test?.metrics[model.metric];
  if (value == null) return text("trust_unmeasured");
  const trivial = bestBaseline(model, "test", model.metric);
  const measured = { metric: translator.metric(model.metric), value: translator.score(model.metric, value), recordings: translator.count("split_n", test.n), data };
  const scores = trivial === null ? text("trust_scores", measured) : text("trust_scores_baseline", { ...measured, baseline: translator.score(model.metric, trivial) });
  return model.leaky ? `${scores} ${text("leaky")}` : scores;
};

/// Data sets that the program generates.
export const isSynthetic = (data) => /^demo(_|$)/.test(data ?? "");

/// The best score of the run's baselines, which ignore the recordings; null if there is none.
export const bestBaseline = (model, split, metric) => {
  const values = (model.baselines ?? []).filter((baseline) => baseline.split === split).map(({ metrics }) => metrics[metric]);
  const scores = values.filter((value) => value != null);
  return scores.length ? Math.max(...scores) : null;
};
