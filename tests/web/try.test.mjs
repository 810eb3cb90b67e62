// Examples on the first screen, a recording that is unlike the training recordings, and all models side by side.

import assert from "node:assert/strict";
import { test } from "node:test";

import { answer, made, models } from "./answers.mjs";
import { hasResult, openTab, posted, shot } from "./browser.mjs";
import { unreadable } from "./contrast.mjs";
import { browser, server } from "./site.mjs";
import { toneFile } from "./tone.mjs";

const classes = ["guitar", "dog", "church_bell"];
const tone = toneFile(10, undefined, "timbre-tone.wav");

test("the first screen has examples that the program makes, and noise is unlike the training recordings", async () => {
  for (const [locale, theme, width] of [["en-GB", "light", 1280], ["hr-HR", "dark", 390]]) {
    const tab = await openTab(browser, server.url, { locale, colorScheme: theme, viewport: { width, height: 844 } });
    const buttons = tab.locator("#examples button");
    await buttons.first().waitFor();
    assert.deepEqual(await buttons.evaluateAll((all) => all.map(({ dataset }) => dataset.codes)), ["cel", "flu", "org", "tru", ""]);
    assert.equal(await buttons.first().textContent(), locale === "en-GB" ? "cello" : "violončelo");
    assert.deepEqual(await tab.evaluate(unreadable), []);
    assert.ok(await tab.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    await shot(tab, `examples-${width}-${theme}`);
    await buttons.first().click();
    await hasResult(tab);
    assert.match(await tab.textContent(".card h2"), locale === "en-GB" ? /^Example cello\.wav$/ : /^Primjer violončelo\.wav$/);
    assert.notEqual(await tab.textContent(".card .heading"), "Unlike the training recordings");
    await buttons.last().click();
    await tab.waitForFunction(() => document.querySelectorAll(".card .named li").length === 2);
    const noise = tab.locator(".card").first();
    assert.equal(await noise.locator(".heading").first().textContent(), locale === "en-GB" ? "Unlike the training recordings" : "Ne sliči snimkama za učenje");
    assert.match(await noise.locator(".warning").textContent(), locale === "en-GB" ? /^This recording is unlike everything the model was trained on \(\d/ : /^Ova snimka ne sliči ničemu/);
    assert.deepEqual(await tab.evaluate(unreadable), []);
    await shot(tab, `unlike-${width}-${theme}`);
    assert.deepEqual(tab.complaints, []);
  }
});

test("only an answer beyond the limit is unlike the training recordings, and a model without one says nothing", async () => {
  for (const [distance, isUnlike] of [[1.01, true], [1, false], [null, false], [undefined, false]]) {
    const response = { ...answer({ classes, rows: [[0.9, 0.05, 0.05]], isClip: true, task: "single_label" }), training_distance: distance };
    const tab = await openTab(browser, server.url, { before: made(response) });
    await tab.setInputFiles("#file", tone);
    await hasResult(tab);
    assert.equal(await tab.textContent(".card .heading"), isUnlike ? "Unlike the training recordings" : "Most likely");
    assert.equal(await tab.isVisible(".card .warning"), isUnlike);
    if (isUnlike) assert.match(await tab.textContent("#live"), /unlike everything the model was trained on/);
    assert.equal(await tab.isVisible("#examples"), false, "this server has none");
  }
});

test("all models answer side by side for one recording, which is sent once more to each", async () => {
  const first = answer({ classes, rows: [[0.7, 0.2, 0.1]], isClip: true, task: "single_label" });
  const second = { ...answer({ classes: [...classes, "rain"], rows: [[0.1, 0.8, 0.3, 0.6]], isClip: true }), model: { id: "other:model.s1", experiment: "other", signature: "1", model: "model.s1" }, training_distance: 2 };
  for (const width of [1280, 390]) {
    const before = async (tab) => {
      await tab.route("**/api/v1/predict*", (route) => route.fulfill({ json: route.request().url().includes("other") ? second : first }));
      const all = { ...models(first), models: [...models(first).models, ...models(second).models] };
      await tab.route("**/api/v1/models", (route) => route.fulfill({ json: all }));
    };
    const tab = await openTab(browser, server.url, { before, viewport: { width, height: 844 } });
    const requests = posted(tab);
    await tab.setInputFiles("#file", tone);
    await hasResult(tab);
    await tab.getByRole("button", { name: "Ask all models" }).click();
    const table = tab.locator(".side-by-side table");
    await tab.waitForFunction(() => /have answered/.test(document.getElementById("live").textContent));
    assert.deepEqual(requests.map((url) => new URL(url).searchParams.get("model")), ["made:up.s1", "other:model.s1"]);
    const cells = await table.locator("tr").evaluateAll((rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent)));
    assert.deepEqual(cells, [
      ["Class", "made:up.s1probability", "other:model.s1probabilityUnlike the training recordings"],
      ["dog", "20%", "80% named"],
      ["guitar", "70% named", "10%"],
      ["rain", "–", "60% named"],
      ["church bell", "10%", "30%"],
    ]);
    assert.equal(await tab.getByRole("button", { name: "Ask all models" }).isVisible(), false);
    assert.equal(await tab.evaluate(() => document.activeElement.getAttribute("role")), "region");
    assert.ok(await tab.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    assert.deepEqual(await tab.evaluate(unreadable), []);
    await shot(tab, `side-by-side-${width}`);
    assert.deepEqual(tab.complaints, []);
  }
  const alone = await openTab(browser, server.url, { before: made(first) });
  await alone.setInputFiles("#file", tone);
  await hasResult(alone);
  assert.equal(await alone.getByRole("button", { name: "Ask all models" }).isVisible(), false);
});
