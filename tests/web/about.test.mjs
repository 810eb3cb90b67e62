// The section About, the errors, and the high-contrast mode.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { languages, translator } from "../../src/serve/page/texts.js";
import { answer, made } from "./answers.mjs";
import { downloaded, drawn, hasResult, openTab, repository, run, serve, shot } from "./browser.mjs";
import { unreadable } from "./contrast.mjs";
import { browser, model, server } from "./site.mjs";
import { toneFile } from "./tone.mjs";

test("every metric has a name in both languages, and only shares are in per cent", () => {
  const source = readFileSync(join(repository, "crates/evaluation/src/metrics/metric.rs"), "utf8");
  const names = [...source.matchAll(/^\s+(?:\w+ = )?"([a-z0-9_]+)" \{/gm)].map(([, name]) => name);
  assert.ok(names.length > 35 && names.includes("coverage_error") && names.includes("f1_micro"), names.join());
  for (const language of ["en", "hr"]) {
    for (const name of names) {
      const base = name.replace(/_(micro|macro|weighted|samples)$/, "");
      assert.ok(Object.hasOwn(languages[language].metrics, base), `${language} ${name}`);
    }
  }
  const { score } = translator("en");
  assert.equal(score("coverage_error", 7.364), "7.364");
  assert.equal(score("f1_micro", 0.41), "41.0%");
  assert.equal(translator("en").metric("f1_micro"), "F1, all decisions");
  assert.equal(translator("hr").metric("recall_samples"), "odziv, prosjek snimaka");
});

const classes = ["guitar", "dog", "cat", "bird"];
const response = answer({ classes, rows: [[0.85, 0.05, 0.05, 0.05]], isClip: true, task: "single_label" });
const measured = {
  quality: [{ split: "test", n: 120, metrics: { accuracy: 0.75, f1_macro: 0.7, top_3_accuracy: 1, log_loss: 0.5, brier: 0.2, accuracy_low: 0.7, accuracy_high: 0.8 } }],
  baselines: [
    { name: "commonest", split: "test", metrics: { accuracy: 0.3, f1_macro: 0.1 } },
    { name: "chance", split: "test", metrics: { accuracy: 0.25 } },
  ],
  confusions: [{ split: "test", truth: "guitar", decided: "dog", n: 9 }, { split: "validation", truth: "dog", decided: "guitar", n: 2 }],
};

test("About shows three scores with their interval and the best trivial answer, and folds the rest", async () => {
  for (const [locale, says] of [["en-GB", [/^75\.0%accuracybetween 70\.0% and 80\.0% with 95% confidencebest trivial answer: 30\.0%$/, /^70\.0%F1, mean of classesbest trivial answer: 10\.0%$/, /^100\.0%right class among three$/]], ["hr-HR", [/^75,0\s%točnostizmeđu 70,0\s% i 80,0\s% s pouzdanošću od 95 %najbolji trivijalni odgovor: 30,0\s%$/, /prosjek klasa/, /među tri/]]]) {
    const tab = await openTab(browser, `${server.url}/#about`, { before: made(response, measured), locale });
    await tab.locator(".figures li").first().waitFor();
    const figures = await tab.locator(".figures li").allTextContents();
    assert.equal(figures.length, 3);
    figures.forEach((figure, i) => assert.match(figure, says[i]));
    assert.equal(await tab.isVisible("#about table"), false);
    await tab.click(".measures summary");
    assert.equal(await tab.locator("#about tbody tr").count(), 5);
    await shot(tab, `about-measured-${locale}`);
    assert.deepEqual(await tab.evaluate(unreadable), []);
    assert.deepEqual(tab.complaints, []);
  }
});

test("About has no interval without width and no rank that every class has", async () => {
  const three = answer({ classes: ["guitar", "dog", "cat"], rows: [[0.8, 0.1, 0.1]], isClip: true, task: "single_label" });
  const perfect = { quality: [{ split: "test", n: 6, metrics: { accuracy: 1, top_3_accuracy: 1, accuracy_low: 1, accuracy_high: 1 } }], baselines: [], confusions: [] };
  const tab = await openTab(browser, `${server.url}/#about`, { before: made(three, perfect) });
  await tab.locator(".figures li").first().waitFor();
  assert.deepEqual(await tab.locator(".figures li").allTextContents(), ["100.0%accuracytoo few recordings to say how uncertain this is"]);
  await tab.click(".measures summary");
  assert.equal(await tab.locator("#about tbody tr").count(), 1);
});

test("About says what the model confuses", async () => {
  const tab = await openTab(browser, `${server.url}/#about`, { before: made(response, measured) });
  await tab.getByText("guitar taken for dog: 9×").waitFor();
  assert.equal(await tab.getByText("dog taken for guitar").count(), 0, "of another subset");
});

test("About says of a model that it cannot warn of unlike recordings", async () => {
  const paragraph = (tab) => tab.getByText("It does not warn of recordings that are unlike everything in training");
  const of = async (has_training_distance) => {
    const tab = await openTab(browser, `${server.url}/#about`, { before: made(response, { ...measured, has_training_distance }) });
    await tab.getByText("guitar taken for dog: 9×").waitFor();
    return paragraph(tab).count();
  };
  assert.deepEqual([await of(false), await of(true)], [1, 0]);
});

test("About of many classes with long names fits a phone", async () => {
  const many = Array.from({ length: 60 }, (_, c) => `a_long_name_of_a_class_${c}`.repeat(c === 7 ? 4 : 1));
  const tab = await openTab(browser, `${server.url}/#about`, { before: made(answer({ classes: many, rows: [many.map(() => 1 / 60)], isClip: true, task: "single_label" })), viewport: { width: 390, height: 844 } });
  await tab.locator(".names").waitFor();
  await tab.click(".measures summary");
  await shot(tab, "about-many-390");
  assert.ok((await tab.evaluate(() => document.documentElement.scrollWidth)) <= 390);
});

test("the model and how far it was measured stand beside the result", async () => {
  const trust = async (changes, locale = "en-GB") => {
    const tab = await openTab(browser, server.url, { before: made(response, changes), locale });
    await tab.setInputFiles("#file", toneFile(3));
    await hasResult(tab);
    return tab.textContent(".card .trust");
  };
  assert.equal(await trust({ data: "demo_shifted" }), "Model: made:up.s1. Trained on synthetic sounds (demo_shifted): on real recordings it has not been measured.");
  assert.equal(await trust(measured), "Model: made:up.s1. On 120 recordings of field_recordings, not used for training: accuracy 75.0%; the best trivial answer has 30.0%.");
  assert.match(await trust({ data: null, quality: [] }), /It has not been measured\.$/);
  assert.match(await trust({ ...measured, leaky: true }), /30\.0%\. Recordings of one song were in training and test, so the scores are too good\.$/);
  assert.match(await trust({ data: "demo" }, "hr-HR"), /Učio je na umjetnim zvukovima \(demo\): na stvarnim snimkama nije izmjeren\.$/);
});

test("an error is a sentence, and the server's own is folded", async () => {
  const path = join(tmpdir(), "no-music.txt");
  writeFileSync(path, "This is not a recording.\n");
  const tab = await openTab(browser, server.url);
  await tab.setInputFiles("#file", path);
  assert.match(await tab.textContent(".card .trouble"), /^This is not a recording that Timbre can read\. Choose an audio or video file/);
  assert.equal(await tab.isVisible(".technical p"), false);
  await tab.click(".technical summary");
  assert.match(await tab.textContent(".technical p"), /^not_audio: ./);
  // Every error of the documentation that an upload can meet has a sentence in both languages.
  const table = readFileSync(join(repository, "docs/serving.md"), "utf8").match(/\| 408 [^]*?\| 503 [^\n]*/)[0];
  const codes = [...table.matchAll(/^\| \d+ \| ([^|]*)/gm)].flatMap(([, cell]) => [...cell.matchAll(/`(\w+)`/g)].map(([, code]) => code));
  const unmet = ["unsupported_body", "other_host"];
  assert.ok(codes.includes("too_slow") && codes.includes("stopping"), codes.join());
  for (const code of codes.filter((code) => !unmet.includes(code))) assert.ok(languages.en.problems[code] && languages.hr.problems[code], code);
});

test("recordings that were refused without a token are sent after it is entered", async () => {
  const guarded = await serve([model.model, "--runs", model.runs, "--windows"], { TIMBRE_TOKEN: "open sesame" });
  try {
    const tab = await openTab(browser, `${guarded.url}/#about`);
    await tab.locator("#about-body", { hasText: "Enter the access token" }).waitFor();
    await tab.click('nav a[href="#listen"]');
    await tab.setInputFiles("#file", model.clips("pia")[0]);
    await tab.locator(".card .trouble", { hasText: "The server requires an access token" }).waitFor();
    await tab.getByLabel("Enter the access token").fill("open sesame");
    await tab.getByRole("button", { name: "Continue" }).click();
    await hasResult(tab);
  } finally {
    await guarded.stop();
  }
});

test("in high contrast every control and mark is visible", async () => {
  for (const colorScheme of ["light", "dark"]) {
    const tab = await openTab(browser, server.url, { forcedColors: "active", colorScheme });
    await tab.setInputFiles("#file", model.longRecordings()[0]);
    await hasResult(tab);
    await drawn(tab);
    await shot(tab, `high-contrast-${colorScheme}`);
    const differs = (selector, property) =>
      tab.$eval(
        selector,
        (element, property) => {
          const style = getComputedStyle(element);
          const page = getComputedStyle(document.body).backgroundColor;
          return parseFloat(style.borderTopWidth) >= 1 && style[property] !== page;
        },
        property,
      );
    assert.ok(await differs(".play", "borderTopColor"), "play");
    assert.ok(await differs(".lane", "borderTopColor"), "lane");
    const [mark, background] = await tab.$eval(".play", (play) => [getComputedStyle(play, "::before").backgroundColor, getComputedStyle(play).backgroundColor]);
    assert.notEqual(mark, background, "the sign in the button");
    await tab.click('nav a[href="#record"]');
    assert.ok(await differs("#record-button", "borderTopColor"), "record");
    const [sign, below] = await tab.$eval("#record-button", (button) => [getComputedStyle(button.querySelector(".sign")).backgroundColor, getComputedStyle(button).backgroundColor]);
    assert.notEqual(sign, below, "the sign in the record button");
    await shot(tab, `high-contrast-record-${colorScheme}`);
  }
});

test("labels of Audacity and JAMS have the segments that `timbre predict` writes", async () => {
  const path = model.longRecordings()[0];
  const tab = await openTab(browser, server.url);
  await tab.setInputFiles("#file", path);
  await hasResult(tab);
  const predicted = (format) => run(["predict", model.model, path, "--runs", model.runs, "--windows", "--format", format]);
  assert.equal((await downloaded(tab, "save_audacity")).text, predicted("audacity"));
  const [ours, theirs] = [(await downloaded(tab, "save_jams")).text, predicted("jams")].map((text) => JSON.parse(text));
  const observations = ({ annotations }) => annotations.map(({ namespace, duration, data }) => ({ namespace, duration: duration.toFixed(6), data: data.map(({ time, duration, value, confidence }) => [time.toFixed(6), duration.toFixed(6), value, confidence.toFixed(5)]) }));
  assert.deepEqual(observations(ours), observations(theirs));
  assert.equal(ours.file_metadata.title, theirs.file_metadata.title);
  assert.deepEqual(Object.keys(ours), Object.keys(theirs));
});
