// The timeline of a result: what the pointer and the keyboard read and play, contrast of its marks, width, many classes, long recordings.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { answer, made } from "./answers.mjs";
import { drawn, hasResult, openTab, repository, shot } from "./browser.mjs";
import { contrastOf } from "./contrast.mjs";
import { browser, server } from "./site.mjs";
import { toneFile } from "./tone.mjs";

const classes = ["guitar", "dog"];
const rows = Array.from({ length: 10 }, (_, w) => [w >= 6 ? 0.9 : 0.1, w === 2 ? 0.4 : 0.2]);
const opened = async (response, { path = toneFile(10), ...options } = {}) => {
  const before = async (tab) => {
    await made(response)(tab);
    await tab.addInitScript(() => {
      const { play } = HTMLMediaElement.prototype;
      HTMLMediaElement.prototype.play = function () {
        window.playedFrom = this.currentTime;
        return play.call(this);
      };
    });
  };
  const tab = await openTab(browser, server.url, { before, ...options });
  await tab.setInputFiles("#file", path);
  await hasResult(tab);
  return tab;
};
const isPlayingFrom = async (tab, time) => {
  await tab.waitForFunction(() => document.querySelector("audio").currentTime > window.playedFrom);
  const from = await tab.evaluate(() => window.playedFrom);
  assert.ok(Math.abs(from - time) < 0.3, `${from} instead of ${time}`);
};

test("a click in a row plays from there, and hovering reads the value", async () => {
  const tab = await opened(answer({ classes, rows }));
  // Rows are drawn anew with the picture; a click that falls between is lost.
  await drawn(tab);
  const lane = tab.locator('.rows [data-code="guitar"] .lane');
  const { width } = await lane.boundingBox();
  await lane.hover({ position: { x: 0.25 * width, y: 8 } });
  assert.equal(await tab.textContent(".reading"), "0:02, probability 10%");
  await lane.hover({ position: { x: 0.65 * width, y: 8 } });
  assert.equal(await tab.textContent(".reading"), "0:06, probability 90%");
  await shot(tab, "reading");
  const before = await lane.elementHandle();
  await tab.$eval("#cutoff", (slider) => {
    slider.value = "0.6";
    slider.dispatchEvent(new Event("input"));
  });
  await tab.waitForFunction((old) => !old.isConnected, before);
  assert.equal(await tab.textContent(".reading"), "0:06, probability 90%", "rows that are drawn anew keep what is read");
  await lane.click({ position: { x: 0.75 * width, y: 8 } });
  await isPlayingFrom(tab, 7.5);
  assert.deepEqual(tab.complaints, []);
});

test("the keyboard reads a row window by window and plays from there", async () => {
  const tab = await opened(answer({ classes, rows }));
  const lane = tab.getByRole("slider", { name: "dog" });
  const says = () => lane.getAttribute("aria-valuetext");
  await lane.focus();
  assert.equal(await says(), "0:02, probability 40%", "the highest window first");
  assert.equal(await tab.isVisible(".reading"), true);
  await tab.keyboard.press("ArrowRight");
  assert.equal(await says(), "0:03, probability 20%");
  await tab.getByRole("slider", { name: "guitar" }).focus();
  assert.equal(await tab.getByRole("slider", { name: "guitar" }).getAttribute("aria-valuetext"), "0:06, probability 90%, above the threshold");
  await tab.keyboard.press("End");
  await tab.keyboard.press("PageUp");
  await tab.keyboard.press("ArrowRight");
  await tab.keyboard.press("ArrowRight");
  await tab.keyboard.press("Enter");
  await isPlayingFrom(tab, 2);
});

test("the marks of the timeline have a contrast of 3 : 1", async () => {
  for (const colorScheme of ["light", "dark"]) {
    const tab = await opened(answer({ classes, rows }), { colorScheme });
    await drawn(tab);
    const pairs = await tab.$eval('.rows [data-code="guitar"] .lane', (lane) => {
      const style = (name) => getComputedStyle(lane.querySelector(name));
      const track = getComputedStyle(lane).backgroundColor;
      return { outline: [style(".outline").stroke, track], strong: [style(".strong").fill, track], threshold: [style(".cut").stroke, track] };
    });
    for (const [mark, [above, below]] of Object.entries(pairs)) {
      const ratio = await tab.evaluate(contrastOf, [above, below]);
      assert.ok(ratio >= 3, `${mark}, ${colorScheme}: ${ratio.toFixed(2)}`);
    }
  }
});

test("the marks of the time axis do not overlap after the window is resized", async () => {
  const tab = await opened(answer({ classes, rows: Array.from({ length: 400 }, (_, w) => rows[w % 10]) }));
  await drawn(tab);
  const times = () => tab.$$eval(".axis i", (marks) => marks.map((mark) => mark.getBoundingClientRect()).map(({ left, right }) => [left, right]));
  const wide = await times();
  await tab.setViewportSize({ width: 390, height: 844 });
  await tab.waitForFunction((many) => document.querySelectorAll(".axis i").length < many, wide.length);
  const narrow = await times();
  assert.ok(narrow.length >= 3);
  narrow.slice(1).forEach(([left], i) => assert.ok(left > narrow[i][1], `mark ${i + 1} begins at ${left}, the one before ends at ${narrow[i][1]}`));
});

test("of fifty classes only those that were found have a row until all are asked for", async () => {
  const many = Array.from({ length: 50 }, (_, c) => (c === 49 ? "a_very_long_name_of_a_class_without_any_space_in_it" : `class_${c}`));
  const response = answer({ classes: many, rows: rows.map((_, w) => many.map((_, c) => (c === 49 && w < 3 ? 0.9 : c === 30 ? 0.8 : c / 1000))) });
  for (const width of [1280, 390]) {
    const tab = await opened(response, { viewport: { width, height: 844 } });
    const count = () => tab.locator(".rows > li").count();
    assert.ok((await count()) <= 8, `${await count()} rows`);
    assert.equal(await tab.locator('.rows [data-code="class_30"]').count(), 1);
    await shot(tab, `fifty-classes-${width}`);
    assert.ok((await tab.evaluate(() => document.documentElement.scrollWidth)) <= width, "wider than the screen");
    const button = tab.getByRole("button", { name: "Show all 50" });
    assert.equal(await button.getAttribute("aria-expanded"), "false");
    await button.click();
    assert.equal(await count(), 50);
    await tab.getByRole("button", { name: "Show fewer" }).click();
    assert.ok((await count()) <= 8);
  }
});

test("the timeline is zoomed and moved, and playback and the keyboard take it along", async () => {
  const response = answer({ classes, rows: Array.from({ length: 200 }, (_, w) => [w === 150 ? 0.9 : 0.1, 0.2]) });
  const tab = await opened(response, { path: toneFile(200) });
  await drawn(tab);
  const strong = () => tab.$eval('.rows [data-code="guitar"] .strong', (path) => path.getBBox().width);
  const whole = await strong();
  assert.equal(await tab.isVisible(".zoom input"), false);
  await tab.getByRole("button", { name: "Zoom in" }).click();
  await tab.getByRole("button", { name: "Zoom in" }).click();
  // A quarter around the middle.
  const pan = tab.getByRole("slider", { name: "Part of the recording that is shown" });
  assert.equal(await pan.getAttribute("aria-valuetext"), "from 1:15 to 2:05");
  assert.equal(await tab.textContent(".axis i"), "1:20");
  assert.equal(await strong(), 0, "2:30 is not shown");
  await pan.fill("120");
  assert.equal(await pan.getAttribute("aria-valuetext"), "from 2:00 to 2:50");
  assert.ok(Math.abs((await strong()) / whole - 4) < 0.1, "four times as wide");
  const lane = tab.locator('.rows [data-code="guitar"] .lane');
  const { width } = await lane.boundingBox();
  await lane.hover({ position: { x: (30.5 / 50) * width, y: 8 } });
  assert.equal(await tab.textContent(".reading"), "2:30, probability 90%");
  await shot(tab, "zoom");
  await lane.click({ position: { x: (48.8 / 50) * width, y: 8 } });
  // Playback leaves the view at 2:50.
  await tab.waitForFunction(() => document.querySelector(".zoom input").getAttribute("aria-valuetext") === "from 2:30 to 3:20");
  await tab.locator(".play").click();
  await lane.focus();
  await tab.keyboard.press("Home");
  assert.match(await pan.getAttribute("aria-valuetext"), /^from 0:00/);
  assert.equal(await tab.evaluate(() => document.activeElement.getAttribute("aria-valuetext")), "0:00, probability 10%");
  for (let i = 0; i < 2; i++) await tab.getByRole("button", { name: "Zoom out" }).click();
  assert.equal(await strong(), whole);
  assert.deepEqual(tab.complaints, []);
});

/// Where the darkest colour is in the columns of the spectrogram at some shares of its width, from 0 (bottom) to 1; null for a blank one.
const darkestAt = (tab, shares) =>
  tab.$eval(
    ".picture canvas",
    (canvas, shares) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return shares.map((share) => {
        const at = (y) => 4 * (y * canvas.width + Math.floor(share * canvas.width));
        const darkness = Array.from({ length: canvas.height }, (_, y) => 765 - data[at(y)] - data[at(y) + 1] - data[at(y) + 2]);
        return Math.max(...darkness) === Math.min(...darkness) ? null : 1 - darkness.indexOf(Math.max(...darkness)) / canvas.height;
      });
    },
    shares,
  );

test("a recording of more than twenty minutes has a coarse spectrogram", async () => {
  const response = answer({ classes, rows: Array.from({ length: 1260 }, (_, w) => rows[w % 10]) });
  const coarse = async (path) => {
    const tab = await opened(response, { path, colorScheme: "light" });
    await drawn(tab, { timeout: 60_000 });
    assert.match(await tab.textContent(".player"), /A coarse spectrogram/);
    assert.deepEqual(tab.complaints, []);
    // The times do not cover the frequencies beside the picture.
    const [times, frequencies] = await Promise.all([tab.locator(".at").boundingBox(), tab.locator(".marks i").nth(2).boundingBox()]);
    assert.ok(times.x + times.width <= frequencies.x, JSON.stringify([times, frequencies]));
    await shot(tab, "coarse");
    return darkestAt(tab, [0.1, 0.4, 0.6, 0.9]);
  };
  // 300 Hz in the first half, 3 kHz in the second.
  const [a, b, c, d] = await coarse(toneFile(1260, (i) => (i < 630 * 8000 ? 300 : 3000)));
  assert.ok(a < 0.3 && b < 0.3 && c > 0.5 && d > 0.5, `${[a, b, c, d]}`);
  // MP3 is cut at any byte.
  const frames = readFileSync(join(repository, "tests/golden/streams/cbr.mp3"));
  const path = join(tmpdir(), "timbre-long.mp3");
  writeFileSync(path, Buffer.concat(Array(400).fill(frames)));
  assert.ok((await coarse(path)).every((band) => band !== null));
});

test("a long recording that cannot be cut has no spectrogram, and is played", async () => {
  const path = join(tmpdir(), "timbre-long.ogg");
  writeFileSync(path, Buffer.concat([Buffer.from("OggS"), Buffer.alloc(5000)]));
  const tab = await opened(answer({ classes, rows: Array.from({ length: 1260 }, (_, w) => rows[w % 10]) }), { path });
  await tab.getByText("Too long for a spectrogram in the browser.").waitFor();
  assert.equal(await tab.isVisible(".play"), true);
});
