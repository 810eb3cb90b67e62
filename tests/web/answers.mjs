// Answers of a server that do not exist: any classes, probabilities and rule, for tests of what the page says about them.

/// `classes` are the codes, `rows` the probabilities of the windows (one second each), or one row for a clip (`isClip`).
export const answer = ({ classes, rows, isClip = false, ...rule }) => {
  const full = { task: "multi_label", aggregate: isClip ? "mean" : "vote", cutoffs: classes.map(() => 0.5), window_fraction: 0.26, at_most: null, at_least_one: false, ...rule };
  const column = (c) => rows.map((row) => row[c]);
  const score = (c) => (isClip ? rows[0][c] : full.aggregate === "vote" ? column(c).filter((p) => p > full.cutoffs[c]).length / rows.length : column(c).reduce((a, b) => a + b) / rows.length);
  const ranked = classes.map((code, c) => ({ code, name: code, confidence: score(c), decided: false })).sort((a, b) => b.confidence - a.confidence);
  const seconds = isClip ? 3 : rows.length;
  return {
    schema: 2,
    model: { id: "made:up.s1", experiment: "made", signature: "0", model: "up.s1" },
    seconds,
    hears: isClip ? "clip" : "windows",
    used: { start: 0, seconds, share: 1 },
    rule: full,
    instruments: ranked,
    timeline: isClip ? null : { window: 1, hop: 1, codes: classes, starts: rows.map((_, w) => w), borders: [...rows.map((_, w) => w), rows.length], probabilities: rows, segments: [] },
    timings: { receive: 0, wait: 0, decode: 0, features: 0, model: 0, total: 0.01 },
  };
};

/// The list of models of a server with the model of `answer`, with changes.
export const models = (answer, changes = {}) => ({
  schema: 2,
  default: "made:up.s1",
  models: [
    {
      ...answer.model,
      classes: (answer.timeline?.codes ?? answer.instruments.map(({ code }) => code)).map((code) => ({ code, name: code })),
      hears: answer.hears, window: answer.timeline && { seconds: 1, hop: 1 }, clip_seconds: null, rule: answer.rule, data: "field_recordings", metric: "accuracy",
      quality: [{ split: "test", n: 120, metrics: { accuracy: 0.75, accuracy_low: 0.7, accuracy_high: 0.8 } }], members: [], ...changes,
    },
  ],
  limits: { bytes: 67108864, seconds: 3600, clip_seconds: 600, channels: 64 },
});

/// Answers the requests of a page before it is opened: `openTab(browser, url, { before: made(answer) })`.
export const made = (answer, changes) => async (tab) => {
  await tab.route("**/api/v1/predict*", (route) => route.fulfill({ json: answer }));
  await tab.route("**/api/v1/models", (route) => route.fulfill({ json: models(answer, changes) }));
};
