// Several recordings, long ones, and where the page scrolls.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { test } from "node:test";

import { answer, made } from "./answers.mjs";
import { downloaded, hasResult, openTab, posted, shot } from "./browser.mjs";
import { unreadable } from "./contrast.mjs";
import { browser, model, server } from "./site.mjs";
import { toneFile } from "./tone.mjs";

const codes = ["cel", "cla", "flu", "gac", "gel", "org", "pia", "sax", "tru", "vio", "voi"];
const twenty = () => codes.flatMap((code) => model.clips(code).slice(0, 2)).slice(0, 20);
const isDone = (tab, n) => tab.waitForFunction((n) => document.querySelector("#overview h2").textContent === `${n} recordings`, n);

test("twenty recordings have a table with progress, and are saved and removed together", async () => {
  const tab = await openTab(browser, server.url);
  const broken = join(tmpdir(), "no music.txt");
  writeFileSync(broken, "This is not a recording.\n");
  const paths = [...twenty().slice(0, 19), broken];
  const titles = await tab.evaluate(() => {
    const seen = (window.titles = []);
    new MutationObserver(() => seen.push(document.querySelector("#overview h2").textContent)).observe(document.getElementById("overview"), { childList: true, subtree: true, characterData: true });
    return seen;
  });
  assert.deepEqual(titles, []);
  await tab.setInputFiles("#file", paths);
  await isDone(tab, 20);
  const seen = await tab.evaluate(() => window.titles);
  const counts = [...new Set(seen)].map((title) => title.match(/^(\d+) of 20 recordings$/)?.[1]).filter(Boolean).map(Number);
  assert.ok(counts.length > 5 && counts.every((count, i) => i === 0 || count > counts[i - 1]), counts.join());
  assert.equal(await tab.locator("#overview progress").isVisible(), false);
  const rows = tab.locator("#overview tbody tr");
  assert.equal(await rows.count(), 20);
  assert.match(await rows.nth(19).textContent(), /^no music\.txtThis is not a recording/);
  assert.match(await rows.first().textContent(), new RegExp(`^${basename(paths[0]).replace(/[[\]()]/g, "\\$&")}0:03\\w.*\\((mean )?probability \\d+%\\)`));
  await shot(tab, "twenty");
  assert.deepEqual(await tab.evaluate(unreadable), []);
  const lines = (await downloaded(tab, "save_all_csv")).text.trim().split("\r\n");
  assert.equal(lines.length, 1 + 19 * 11);
  const list = JSON.parse((await downloaded(tab, "save_all_json")).text);
  assert.deepEqual(list.map(({ recording }) => recording), paths.slice(0, 19).map((path) => basename(path)));
  // The name leads to the result.
  await rows.nth(12).getByRole("button").click();
  assert.equal(await tab.evaluate(() => document.activeElement.textContent), basename(paths[12]));
  assert.ok(await tab.evaluate(() => document.activeElement.getBoundingClientRect().top < innerHeight));
  await tab.getByRole("button", { name: "Remove all" }).click();
  assert.equal(await tab.locator(".card").count(), 0);
  assert.equal(await tab.isVisible("#overview"), false);
});

test("the table fits a phone", async () => {
  const tab = await openTab(browser, server.url, { viewport: { width: 390, height: 844 }, locale: "hr-HR" });
  await tab.setInputFiles("#file", twenty().slice(0, 3));
  await tab.waitForFunction(() => document.querySelector("#overview h2").textContent === "Snimke: 3");
  assert.ok((await tab.evaluate(() => document.documentElement.scrollWidth)) <= 390);
  await shot(tab, "table-390");
});

test("a result is in view on a phone and on a low window", async () => {
  for (const viewport of [{ width: 390, height: 844 }, { width: 1366, height: 650 }]) {
    const tab = await openTab(browser, server.url, { viewport });
    await tab.setInputFiles("#file", model.clips("pia")[0]);
    await hasResult(tab);
    const isInView = () => tab.$eval(".card .named li b", (name) => name.getBoundingClientRect().top >= 0 && name.getBoundingClientRect().bottom <= innerHeight);
    assert.ok(await isInView(), JSON.stringify(viewport));
  }
});

test("a person who has scrolled elsewhere stays there", async () => {
  const tab = await openTab(browser, server.url, { viewport: { width: 390, height: 500 } });
  await tab.route("**/api/v1/predict*", async (route) => {
    await new Promise((go) => setTimeout(go, 800));
    await route.continue().catch(() => {});
  });
  await tab.setInputFiles("#file", model.clips("pia")[0]);
  await tab.locator(".card .dots").waitFor();
  await tab.evaluate(() => scrollTo(0, 0));
  await hasResult(tab);
  assert.equal(await tab.evaluate(() => scrollY), 0);
});

test("a long recording shows the time that is left, once the speed is known", async () => {
  const classes = ["guitar", "dog"];
  const response = { ...answer({ classes, rows: Array.from({ length: 60 }, () => [0.9, 0.1]) }), seconds: 60, timings: { receive: 0, wait: 0, decode: 0, features: 0, model: 5, total: 6 } };
  const tab = await openTab(browser, server.url, { before: made(response) });
  let wait = 0;
  await tab.route("**/api/v1/predict*", async (route) => {
    await new Promise((go) => setTimeout(go, wait));
    await route.fulfill({ json: response }).catch(() => {});
  });
  await tab.setInputFiles("#file", toneFile(60));
  await hasResult(tab);
  wait = 8000;
  await tab.setInputFiles("#file", toneFile(60));
  // A minute at ten seconds a second.
  await tab.getByText(/Analysing 1:00, about \d\ss left/).waitFor();
  const cancel = tab.getByRole("button", { name: "Cancel" });
  await cancel.focus();
  const before = await tab.$eval(".state progress", (bar) => bar.value);
  await tab.waitForFunction((before) => document.querySelector(".state progress").value > before + 0.1, before);
  assert.ok(await cancel.evaluate((button) => button === document.activeElement), "the button keeps the focus");
  await shot(tab, "time-left");
  // Longer than at the earlier speed: the estimate ends.
  await tab.getByText(/Analysing 1:00, for \d\ss so far/).waitFor();
  await tab.waitForFunction(() => document.querySelectorAll(".card .named li").length === 2);
});

test("a recording that is too long for the server is refused before it is sent", async () => {
  const response = answer({ classes: ["guitar", "dog"], rows: [[0.9, 0.1]], isClip: true });
  const tab = await openTab(browser, server.url, { before: made(response) });
  const requests = posted(tab);
  await tab.setInputFiles("#file", toneFile(700));
  await tab.locator(".card .trouble", { hasText: "The recording is longer than 10 minutes, which is the limit of the server. Choose a shorter part." }).waitFor();
  assert.deepEqual(requests, []);
});
