// Saves results as files.

import { inPart, namedOf } from "./rule.js";

const field = (text) => (/[",\r\n]/.test(text) ? `"${String(text).replaceAll('"', '""')}"` : String(text));
const table = (rows) => rows.map((row) => row.map(field).join(",") + "\r\n").join("");

/// The name of the rule in files: `most_likely`, `share_of_windows`, or what is compared with the threshold (`mean`, `probability`, …).
const ruleName = ({ kind, score }) => (kind === "top" ? "most_likely" : kind === "share" ? "share_of_windows" : score);

/// The decision: `score` and `threshold` of a class have one unit, which `rule` names. `window_threshold` is the probability above
/// which a window counts.
const decided = (decision) => {
  const parts = new Map(inPart(decision).map((part) => [part.one.code, part]));
  const of = (one) => ({
    code: one.code,
    name: one.name,
    score: one.confidence,
    rule: ruleName(decision),
    threshold: one.threshold,
    ...(decision.kind === "share" && { window_threshold: one.cutoff }),
    decided: one.decided,
    ...(decision.segments && { in_part: parts.has(one.code) }),
  });
  return decision.instruments.map(of);
};

const object = ({ name, answer, decision, overrides }) => ({ recording: name, ...answer, decision: { ...overrides, rule: ruleName(decision), instruments: decided(decision), segments: decision.segments } });

/// The response of the server with the decision on the page; a list if there are several recordings.
export const json = (results) => JSON.stringify(results.length === 1 ? object(results[0]) : results.map(object), null, 2) + "\n";

/// One line per recording and class.
export const csv = (results) =>
  table([
    ["recording", "code", "name", "score", "rule", "threshold", "window_threshold", "decided", "in_part"],
    ...results.flatMap(({ name, decision }) =>
      decided(decision).map((one) => [name, one.code, one.name, one.score, one.rule, one.threshold ?? "", one.window_threshold ?? "", one.decided, one.in_part ?? ""]),
    ),
  ]);

/// The classes that people gave in place of the predicted ones: the columns of `corrections` in a data file.
export const corrections = (cards) => {
  const labels = ({ truth }) => truth.value.split(";").map((label) => label.trim()).filter(Boolean).join(";");
  return table([["recording", "labels"], ...cards.filter(labels).map((card) => [card.recording.name, labels(card)])]);
};

/// One line per window, one column per class.
export const windows = (name, { window, codes, starts, probabilities }) =>
  table([["recording", "start", "end", ...codes], ...starts.map((start, w) => [name, start, start + window, ...probabilities[w]])]);

/// A label track of Audacity: one line per segment.
export const audacity = ({ segments }) => segments.map(({ start, end, code }) => `${start.toFixed(6)}\t${end.toFixed(6)}\t${code.replace(/\p{Cc}/gu, " ")}\n`).join("");

/// JAMS 0.3: the classes of the whole recording and the segments, as `timbre predict --format jams` writes them.
export const jams = ({ name, answer, decision }) => {
  const observation = (time, duration, { code, confidence }) => ({ time, duration, value: code, confidence });
  const annotation = (data, rules) => ({
    namespace: "tag_open",
    data,
    annotation_metadata: {
      curator: { name: "", email: "" },
      annotator: { model: answer.model.id },
      version: "",
      corpus: "",
      annotation_tools: "timbre",
      annotation_rules: rules,
      validation: "",
      data_source: "program",
    },
    sandbox: {},
    time: 0,
    duration: answer.seconds,
  });
  const whole = namedOf(decision).map((one) => observation(0, answer.seconds, one));
  const parts = decision.segments.map((segment) => observation(segment.start, segment.end - segment.start, segment));
  const file = {
    annotations: [annotation(whole, "classes of the whole recording"), annotation(parts, "classes over time")],
    file_metadata: { title: name, artist: "", release: "", duration: answer.seconds, identifiers: {}, jams_version: "0.3.4" },
    sandbox: { path: name, used: answer.used },
  };
  return JSON.stringify(file, null, 2) + "\n";
};

/// `content` is a text or a blob.
export const save = (name, kind, content) => {
  const address = URL.createObjectURL(new Blob([content], { type: kind }));
  const link = document.createElement("a");
  [link.href, link.download] = [address, name];
  link.click();
  // The browser reads the blob after the click.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
};
