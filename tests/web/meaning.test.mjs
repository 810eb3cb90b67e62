// What the page says about an answer: present throughout, in part, nothing, no better than an even guess; and what its numbers are.

import assert from "node:assert/strict";
import { test } from "node:test";

import { decide, inPart, isEvenGuess, kindsOf, overridesOf, shortfall } from "../../src/serve/page/rule.js";
import { translator } from "../../src/serve/page/texts.js";
import { answer, made } from "./answers.mjs";
import { downloaded, hasResult, openTab, shot } from "./browser.mjs";
import { unreadable } from "./contrast.mjs";
import { browser, model, server } from "./site.mjs";
import { toneFile } from "./tone.mjs";

/// Ten seconds: a guitar in the first two and the last one, a dog all the time, a bell never.
const classes = ["guitar", "dog", "church_bell"];
const rows = Array.from({ length: 10 }, (_, w) => [w < 2 || w === 9 ? 0.9 : 0.1, 0.8, 0.05]);
const own = { kind: null, cutoff: null, fraction: null };

test("a class is present in part if it has a segment and is not decided", () => {
  const parts = inPart(decide(answer({ classes, rows, window_fraction: 0.35 })));
  assert.deepEqual(parts.map(({ one, first, seconds }) => [one.code, first, seconds]), [["guitar", 0, 3]]);
  assert.deepEqual(inPart(decide(answer({ classes, rows, window_fraction: 0.25 }))), []);
});

test("the setting that is offered decides the class that is nearest, and one hundredth more does not", () => {
  const quiet = rows.map(([guitar]) => [guitar, 0.41, 0.05]);
  const cases = [
    [answer({ classes, rows: quiet, window_fraction: 0.5 }), "fraction", "guitar"],
    [answer({ classes, rows: rows.map(() => [0.1, 0.41, 0.05]) }), "cutoff", "dog"],
    [answer({ classes, rows: quiet, aggregate: "mean" }), "cutoff", "dog"],
    [answer({ classes, rows: [[0.3, 0.41, 0.05]], isClip: true }), "cutoff", "dog"],
    // The gap counts, not the score.
    [answer({ classes, rows: [[0.3, 0.41, 0.05]], isClip: true, cutoffs: [0.31, 0.9, 0.9] }), "cutoff", "guitar"],
  ];
  for (const [response, control, code] of cases) {
    const found = shortfall(decide(response, {}, classes), response);
    assert.deepEqual([found.control, found.one.code], [control, code]);
    const decided = (setting) => decide(response, { [control]: setting }, classes).instruments.filter((one) => one.decided).map((one) => one.code);
    assert.ok(decided(found.setting).includes(code), `${control} ${found.setting}`);
    assert.ok(!decided(Math.round(100 * found.setting + 1) / 100).includes(code), `${control} ${found.setting} and more`);
  }
  const silent = answer({ classes, rows: [[0, 0, 0]], isClip: true });
  assert.equal(shortfall(decide(silent), silent).setting, null);
});

test("a single-label answer is an even guess if no class is clearly likelier than the others", () => {
  const single = (first, n) => decide(answer({ classes: Array.from({ length: n }, (_, c) => `c${c}`), rows: [[first, ...Array(n - 1).fill((1 - first) / (n - 1))]], isClip: true, task: "single_label" }));
  for (const [first, n, isEven] of [[0.05, 24, true], [0.2, 24, false], [0.51, 2, true], [0.6, 2, false], [0.12, 11, true], [0.3, 11, false]]) {
    assert.equal(isEvenGuess(single(first, n)), isEven, `${first} of ${n}`);
  }
  assert.equal(isEvenGuess(decide(answer({ classes, rows: [[0.34, 0.33, 0.33]], isClip: true }))), false, "several labels");
});

test("the rules that can be chosen are those that the server has for the model", () => {
  assert.deepEqual(kindsOf(answer({ classes, rows })), ["share"]);
  assert.deepEqual(kindsOf(answer({ classes, rows, aggregate: "max" })), ["reach", "share"]);
  assert.deepEqual(kindsOf(answer({ classes, rows, aggregate: "mean", task: "single_label" })), ["top", "reach", "share"]);
  const clip = answer({ classes, rows: [[0.3, 0.4, 0.3]], isClip: true, task: "single_label" });
  assert.deepEqual(kindsOf(clip), ["top", "reach"]);
  assert.deepEqual(overridesOf(clip, own), { cutoff: null, fraction: null });
  assert.deepEqual(overridesOf(clip, { ...own, kind: "reach" }), { cutoff: 0.5, fraction: null }, "null would be the most likely class");
  // A threshold that was set for another rule has no part in the most likely class.
  assert.deepEqual(overridesOf(clip, { kind: "top", cutoff: 0.3, fraction: null }), { cutoff: null, fraction: null });
  assert.equal(decide(clip, overridesOf(clip, { ...own, kind: "reach" })).kind, "reach");
});

test("percentages that differ look different", () => {
  const { percents } = translator("en");
  assert.deepEqual(percents(0.22, 0.26), ["22%", "26%"]);
  assert.deepEqual(percents(0.2561, 0.26), ["25.6%", "26.0%"]);
  assert.deepEqual(percents(0.002, 0.26), ["0.2%", "26.0%"]);
});

const tone = toneFile(10, undefined, "timbre-tone.wav");

/// A tab with the result of a made-up answer.
const opened = async (response, { changes, ...options } = {}) => {
  const tab = await openTab(browser, server.url, { before: made(response, changes), ...options });
  await tab.setInputFiles("#file", tone);
  await hasResult(tab);
  return tab;
};
const text = (tab, selector) => tab.textContent(`.card ${selector}`);

test("classes throughout and in part are apart, and a click on a part plays it", async () => {
  const tab = await opened(answer({ classes, rows: rows.map(([guitar, dog], w) => [w > 3 && w < 7 ? 0.9 : 0.1, dog, guitar > 0.5 ? 0 : 0.1]), window_fraction: 0.35 }));
  assert.match(await text(tab, ".heading"), /^Present throughout$/);
  assert.match(await text(tab, ".named"), /^dogin 100% of the recording$/);
  assert.match(await text(tab, ".parts"), /^guitarfrom 0:04, 3\ss in all\(play from there\)$/);
  assert.match(await tab.textContent("#live"), /dog \(in 100% of the recording\)\. In part: guitar\.$/);
  await shot(tab, "in-part");
  await tab.getByRole("button", { name: /^guitar from 0:04, 3\ss in all \(play from there\)$/ }).click();
  await tab.waitForFunction(() => document.querySelector("audio").currentTime >= 4 && !document.querySelector("audio").paused);
  assert.deepEqual(tab.complaints, []);
});

test("where nothing passes, the page says what matters and by how much, and sets it", async () => {
  for (const [locale, says, button] of [["en-GB", /guitar, above its threshold of 50% in 30% of the recording; more than 35% is needed/, "Set the share to 29%"], ["hr-HR", /guitar: iznad svojega praga od 50\s% u 30\s% snimke, a potrebno je više od 35\s%/, /^Postavi dio snimke na 29\s%$/]]) {
    const tab = await opened(answer({ classes, rows: rows.map(([guitar]) => [guitar, 0.1, 0]), window_fraction: 0.35 }), { locale });
    assert.match(await text(tab, ".named"), says);
    await tab.getByRole("button", { name: button }).click();
    assert.match(await text(tab, ".named"), /^guitar/);
    assert.equal(await tab.inputValue("#fraction"), "0.29");
    assert.match(await text(tab, ".heading"), /^(Present in more than 29% of the recording|Prisutno u više od 29\s% snimke)$/);
  }
  const clip = await opened(answer({ classes, rows: [[0.41, 0.1, 0.2]], isClip: true }));
  assert.match(await text(clip, ".named"), /The highest is guitar, probability 41%; the threshold is 50%/);
  const windows = await opened(answer({ classes, rows: rows.map((_, w) => [w === 4 ? 0.41 : 0.1, 0.1, 0]) }));
  assert.match(await text(windows, ".named"), /Nothing is above the threshold of 50% at any time\. The highest is guitar, 41% at 0:04\./);
  await shot(windows, "nothing-passes");
});

test("a single-label answer that is an even guess says so", async () => {
  const many = Array.from({ length: 24 }, (_, c) => `sound_${c}`);
  const tab = await opened(answer({ classes: many, rows: [many.map((_, c) => (c === 3 ? 0.05 : 0.95 / 23))], isClip: true, task: "single_label" }));
  assert.equal(await text(tab, ".heading"), "No class stands out");
  assert.match(await text(tab, ".warning"), /probability of 5%; an even guess among 24 classes gives 4%/);
  assert.match(await tab.textContent("#live"), /an even guess/);
  await shot(tab, "even-guess");
  const sure = await opened(answer({ classes, rows: [[0.9, 0.05, 0.05]], isClip: true, task: "single_label" }));
  assert.equal(await text(sure, ".heading"), "Most likely");
  assert.equal(await sure.isVisible(".card .warning"), false);
});

test("a single-label model has a switch between the most likely class and all above a threshold", async () => {
  const tab = await opened(answer({ classes, rows: [[0.45, 0.35, 0.2]], isClip: true, task: "single_label" }));
  assert.match(await text(tab, ".named"), /^guitarprobability 45%$/);
  assert.equal(await tab.isVisible("#cutoff"), false);
  // With the keyboard: the radio buttons are one group.
  await tab.focus("#kinds input:checked");
  await tab.keyboard.press("ArrowDown");
  assert.equal(await tab.isVisible("#cutoff"), true);
  assert.equal(await tab.textContent("#cutoff-value"), "50%");
  assert.match(await text(tab, ".named"), /^No class/);
  await tab.getByRole("button", { name: "Set the threshold to 45%" }).click();
  assert.match(await text(tab, ".named"), /^guitarprobability 45%$/);
  await tab.getByRole("button", { name: "Reset to model default" }).click();
  assert.equal(await tab.isVisible("#cutoff"), false);
  assert.equal(await tab.evaluate(() => document.activeElement.value), "top");
});

test("every percentage says what it is", async () => {
  const says = async (options, score, legend) => {
    const tab = await opened(answer({ classes, cutoffs: [0.3, 0.3, 0.3], ...options }));
    assert.match(await text(tab, ".named"), score);
    assert.match(await text(tab, ".legend"), legend);
    assert.match(await tab.locator(".rows > li .unseen").first().textContent(), score);
    assert.deepEqual(await tab.evaluate(unreadable), []);
  };
  await says({ rows }, /in 100% of the recording/, /share of the recording, in windows of 1\ss/);
  await says({ rows, aggregate: "mean" }, /mean probability 80%/, /^Percentages: mean probability\.$/);
  await says({ rows: [[0.7, 0.2, 0.1]], isClip: true }, /probability 70%/, /^Percentages: probability\.$/);
});

test("files name the score, the rule and the threshold in one unit", async () => {
  const saved = async (options) => {
    const tab = await opened(answer({ classes, rows, ...options }));
    const save = async (key) => (await downloaded(tab, key)).text;
    const [header, ...lines] = (await save("save_csv")).trim().split("\r\n").map((line) => line.split(","));
    const json = JSON.parse(await save("save_json")).decision;
    return [Object.fromEntries(header.map((name, i) => [name, lines[0][i]])), json];
  };
  const [vote, decision] = await saved({});
  assert.deepEqual(vote, { recording: "timbre-tone.wav", code: "dog", name: "dog", score: "1", rule: "share_of_windows", threshold: "0.26", window_threshold: "0.5", decided: "true", in_part: "false" });
  assert.deepEqual(decision.instruments[0], { code: "dog", name: "dog", score: 1, rule: "share_of_windows", threshold: 0.26, window_threshold: 0.5, decided: true, in_part: false });
  const [clip, single] = await saved({ rows: [[0.7, 0.2, 0.1]], isClip: true, task: "single_label" });
  assert.deepEqual([clip.rule, clip.threshold, clip.in_part], ["most_likely", "", ""]);
  assert.deepEqual([single.rule, single.instruments[0].threshold], ["most_likely", null]);
  const [mean] = await saved({ aggregate: "mean" });
  assert.deepEqual([mean.rule, mean.threshold], ["mean", "0.5"]);
});
