// The decision rule of the page (`src/serve/page/rule.js`) compared with that of the server.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";

import { decide } from "../../src/serve/page/rule.js";
import { chooseLanguage, languages } from "../../src/serve/page/texts.js";
import { serve } from "./browser.mjs";
import { trained } from "./trained.mjs";

const answer = (rule, probabilities, instruments) => ({
  rule: { task: "multi_label", aggregate: "vote", cutoffs: [0.5, 0.5], window_fraction: 0.26, at_most: null, at_least_one: false, ...rule },
  instruments,
  timeline: probabilities && {
    codes: ["a", "b"],
    borders: [...probabilities.map((_, w) => w), probabilities.length],
    probabilities,
  },
});
const two = [{ code: "b", name: "B", confidence: 0.4 }, { code: "a", name: "A", confidence: 0.2 }];
const decided = ({ instruments }) => instruments.filter((one) => one.decided).map((one) => one.code);

test("a window at the threshold does not vote, and a share equal to the fraction is not enough", () => {
  const response = answer({}, [[0.5, 0.6], [0.5, 0.4], [0.5, 0.3], [0.9, 0.3]], two);
  assert.deepEqual(decided(decide(response, { cutoff: 0.5, fraction: 0.25 })), []);
  assert.deepEqual(decided(decide(response, { cutoff: 0.5, fraction: 0.24 })), ["a", "b"]);
  assert.deepEqual(decided(decide(response, { cutoff: 0.49, fraction: 0.25 })), ["a"]);
});

test("a share of neighbours equal to the threshold does not vote and is named, for every decimal", () => {
  for (let all = 1; all <= 30; all++) {
    for (let share = 0; share <= all; share++) {
      for (let hundredths = 0; hundredths <= 100; hundredths++) {
        const [p, cutoff] = [Math.fround(share / all), hundredths / 100];
        const above = 100 * share > hundredths * all;
        const what = `${share} of ${all} at ${cutoff}`;
        const windows = decide(answer({}, [[p, 0]], two), { cutoff, fraction: 0 });
        assert.equal(decided(windows).includes("a"), above, what);
        assert.equal(windows.segments.length, above ? 1 : 0, what);
        const clip = answer({ aggregate: "mean" }, null, [two[0], { ...two[1], confidence: p }]);
        assert.equal(decided(decide(clip, { cutoff }, ["a", "b"])).includes("a"), 100 * share >= hundredths * all, what);
      }
    }
  }
});

test("a clip at the threshold of its class is named", () => {
  const response = answer({ aggregate: "mean", cutoffs: [0.2, 0.5] }, null, [{ ...two[0] }, { ...two[1], confidence: 0.25 }]);
  assert.deepEqual(decided(decide(response, {}, ["a", "b"])), ["a"]);
  assert.deepEqual(decided(decide(response, { cutoff: 0.25 }, ["a", "b"])), ["b", "a"]);
});

test("at_most and at_least_one are respected", () => {
  assert.deepEqual(decided(decide(answer({ aggregate: "mean", at_most: 1 }, null, two), { cutoff: 0.1 })), ["b"]);
  assert.deepEqual(decided(decide(answer({ aggregate: "mean", at_least_one: true }, null, two), { cutoff: 0.9 })), ["b"]);
});

test("a single-label model names the most confident class unless a slider sets a threshold", () => {
  const response = answer({ task: "single_label", aggregate: "mean" }, null, two);
  assert.deepEqual(decided(decide(response)), ["b"]);
  assert.deepEqual(decided(decide(response, { cutoff: 0.15 })), ["b", "a"]);
});

test("both languages have every text", () => {
  const { en, hr } = languages;
  assert.deepEqual(Object.keys(hr), Object.keys(en));
  for (const key of ["metrics", "averages", "names", "problems"]) assert.deepEqual(Object.keys(hr[key]), Object.keys(en[key]));
  const placeholders = (text) => String(text).match(/\{\w+\}/g)?.sort() ?? [];
  for (const key of Object.keys(en.problems)) assert.deepEqual(placeholders(hr.problems[key]), placeholders(en.problems[key]), key);
  for (const key of Object.keys(en).filter((key) => typeof en[key] === "string")) assert.deepEqual(placeholders(hr[key]), placeholders(en[key]), key);
});

test("the language is the remembered one, or the first available one of the browser", () => {
  assert.equal(chooseLanguage("hr", ["en-GB"]), "hr");
  assert.equal(chooseLanguage(null, ["de-DE", "hr-HR", "en"]), "hr");
  assert.equal(chooseLanguage("xx", ["de"]), "en");
});

let [model, server] = [];
before(async () => {
  model = trained();
  server = await serve([model.model, "--runs", model.runs, "--windows"]);
});
after(() => server?.stop());

test("decisions, ranking and segments are those of the server for every threshold and fraction", async () => {
  const ask = async (path, query = "") => {
    const form = new FormData();
    form.append("file", new Blob([readFileSync(path)]), "recording.wav");
    const response = await fetch(`${server.url}/api/v1/predict?${query}`, { method: "POST", body: form });
    assert.equal(response.status, 200);
    return response.json();
  };
  for (const path of [...model.longRecordings().slice(0, 2), model.clips("pia")[0]]) {
    const own = await ask(path);
    // Thresholds equal to probabilities of this recording, to the bit, reveal > against >=.
    const exact = own.timeline.probabilities.slice(0, 2).map((row) => Math.fround(Math.max(...row)));
    const overrides = [{}, { fraction: 0.5 }, ...[0, 0.1, 0.35, 1, ...exact].flatMap((cutoff) => [{ cutoff }, { cutoff, fraction: 0.26 }, { cutoff, fraction: 0.5 }])];
    for (const override of overrides) {
      const theirs = await ask(path, new URLSearchParams(override));
      const ours = decide(own, override);
      const plain = ({ code, confidence, decided }) => ({ code, confidence: Math.fround(confidence), decided });
      assert.deepEqual(ours.instruments.map(plain), theirs.instruments.map(plain), JSON.stringify(override));
      const near = ({ code, start, end, confidence }) => [code, start.toFixed(9), end.toFixed(9), confidence.toFixed(6)];
      assert.deepEqual(ours.segments.map(near), theirs.timeline.segments.map(near), JSON.stringify(override));
    }
  }
});
