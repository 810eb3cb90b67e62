import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";

import { kept, openTab, run, shot, startBrowser } from "./browser.mjs";

const small = ["--set", "data.clips_per_class=10", "--set", "data.test_recordings=2"];
const places = ["--runs", join(kept, "report-runs"), "--cache", join(kept, "cache")];
const file = join(kept, "report-runs/quickstart/latest/report.html");
const url = pathToFileURL(file).href;

let browser;
before(async () => {
  run(["run", "quickstart", "-q", ...small, ...places]);
  run(["report", "quickstart/latest", "-q", ...places]);
  assert.ok(existsSync(file));
  browser = await startBrowser();
});
after(() => browser?.close());

/// The numbers of a column of the grid as they stand.
const column = (tab, at) =>
  tab.$$eval("#models table >> nth=0 >> tbody tr", (rows, at) => rows.map((row) => Number(row.cells[at].dataset.v)), at);
const open = (tab, group) => tab.$$eval(`${group} .panel`, (panels) => panels.flatMap((panel, n) => (panel.hidden ? [] : [n])));

test("a click on a heading sorts the table, another one turns it around", async () => {
  const tab = await openTab(browser, url);
  const before = await column(tab, 3);
  const heading = tab.locator("#models table >> nth=0").getByRole("button", { name: "logistic" });
  const falling = [...before].sort((a, b) => b - a);
  assert.notDeepEqual(before, falling, "otherwise nothing is seen");
  await heading.click();
  assert.deepEqual(await column(tab, 3), falling);
  assert.equal(await heading.locator("..").getAttribute("aria-sort"), "descending");
  await heading.focus();
  await tab.keyboard.press("Enter");
  assert.deepEqual(await column(tab, 3), falling.toReversed());
  await tab.locator("#models table >> nth=0").getByRole("button", { name: "features" }).click();
  const names = await tab.$$eval("#models table >> nth=0 >> tbody tr", (rows) => rows.map((row) => row.cells[0].textContent));
  assert.deepEqual(names, [...names].sort());
  assert.equal(await tab.locator("#models table >> nth=0").locator("[aria-sort]").count(), 1);
  assert.deepEqual(tab.complaints, []);
});

test("of the models in tabs one is seen; mouse, arrow keys and links choose it", async () => {
  const tab = await openTab(browser, url);
  assert.deepEqual(await open(tab, "#details"), [0]);
  const tabs = tab.locator("#details").getByRole("tab");
  await tabs.nth(2).click();
  assert.deepEqual(await open(tab, "#details"), [2]);
  assert.equal(await tabs.nth(2).getAttribute("aria-selected"), "true");
  await tab.keyboard.press("ArrowRight");
  assert.deepEqual(await open(tab, "#details"), [3]);
  await tabs.first().focus();
  await tab.keyboard.press("ArrowLeft");
  assert.deepEqual(await open(tab, "#details"), [(await tabs.count()) - 1]);
  // The other group is left alone.
  assert.deepEqual(await open(tab, "#hardest"), [0]);
  const second = await tab.$$eval("#details .panel", (panels) => panels[1].id);
  await tab.evaluate((id) => (location.hash = id), second);
  await tab.waitForFunction((id) => !document.getElementById(id).hidden, second);
  assert.deepEqual(await open(tab, "#details"), [1]);
  assert.deepEqual(tab.complaints, []);
});

test("without a script everything can be read, and printed all panels are there", async () => {
  const still = await openTab(browser, url, { javaScriptEnabled: false });
  const panels = await still.locator(".panel").count();
  assert.ok(panels > 2);
  for (let n = 0; n < panels; n++) assert.ok(await still.locator(".panel").nth(n).isVisible());
  assert.equal(await still.locator("th button, .tabs").count(), 0);
  const printed = await openTab(browser, url);
  await printed.emulateMedia({ media: "print" });
  for (let n = 0; n < panels; n++) assert.ok(await printed.locator(".panel").nth(n).isVisible());
  assert.ok(await printed.locator(".tabs").first().isHidden());
  const folded = printed.locator("details > :not(summary)");
  for (let n = 0; n < (await folded.count()); n++) assert.ok(await folded.nth(n).isVisible(), `what is folded, ${n}`);
  const closed = () => printed.locator("details:not([open])").count();
  const before = await closed();
  const buttons = () => printed.locator("th button").count();
  const all = await buttons();
  await printed.evaluate(() => dispatchEvent(new Event("beforeprint")));
  assert.deepEqual([await closed(), await buttons()], [0, 0]);
  await printed.evaluate(() => dispatchEvent(new Event("afterprint")));
  assert.deepEqual([await closed(), await buttons()], [before, all]);
  await shot(printed, "report-printed");
});

/// What stands out of the paper: A4 without its margins, where a table of many columns lies on its side.
const beyondThePaper = async (file, page = {}) => {
  const [short, long] = [182, 269].map((mm) => Math.round((mm / 25.4) * 96));
  const tab = await openTab(browser, pathToFileURL(file).href, { viewport: { width: short, height: 1000 }, ...page });
  await tab.emulateMedia({ media: "print" });
  await tab.evaluate(() => dispatchEvent(new Event("beforeprint")));
  const beyond = await tab.evaluate(
    ([short, long]) =>
      [...document.querySelectorAll("main *, header *")]
        .filter((element) => element.checkVisibility() && element.getBoundingClientRect().right > (element.closest(".many") ? long : short) + 1)
        .map((element) => `${element.tagName} ${element.className.baseVal ?? element.className}: ${element.textContent.slice(0, 40)}`),
    [short, long],
  );
  return { tab, beyond };
};

test("on paper nothing is cut at the right, and a reader with a dark theme prints on white", async () => {
  const { tab, beyond } = await beyondThePaper(file, { colorScheme: "dark" });
  assert.deepEqual(beyond, []);
  assert.ok((await tab.locator(".many thead th").count()) > 14, "the table of every metric");
  assert.equal(await tab.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgb(255, 255, 255)");
  const ink = await tab.$eval("svg.plot text.ink", (letters) => getComputedStyle(letters).fill);
  assert.ok(ink.match(/\d+/g).slice(0, 3).every((part) => Number(part) < 60), ink);
});

test("nothing is asked of the network, and a recording plays", async () => {
  const context = await browser.newContext();
  const tab = await context.newPage();
  const requests = [];
  tab.on("request", (request) => requests.push(request.url()));
  await tab.goto(url);
  const seconds = await tab.evaluate(async () => {
    const audio = document.querySelector("audio");
    audio.load();
    await new Promise((ready, fails) => {
      audio.addEventListener("loadedmetadata", ready);
      audio.addEventListener("error", fails);
      audio.preload = "auto";
    });
    return audio.duration;
  });
  assert.ok(Math.abs(seconds - 3) < 0.01, `${seconds}`);
  const loaded = await tab.$$eval(".clips svg image", (images) =>
    Promise.all(
      images.map(async (image) => {
        const picture = new Image();
        picture.src = image.getAttribute("href");
        await picture.decode();
        return picture.naturalWidth;
      }),
    ),
  );
  assert.ok(loaded.length > 0 && loaded.every((width) => width > 50));
  assert.deepEqual(requests.filter((url) => !url.startsWith("data:")), [url]);
});

test("a click on a ringed point of the map plays its recording", async () => {
  const tab = await openTab(browser, url);
  const map = tab.locator("#details .panel:not([hidden]) figure:has(.point)");
  assert.match(await map.locator("figcaption").textContent(), /A click on a ringed point plays the recording\.$/);
  const playing = () => tab.$$eval("audio", (all) => all.filter((audio) => !audio.paused).map((audio) => audio.closest("li").querySelector(".path:last-child").textContent));
  assert.deepEqual(await playing(), []);
  const point = map.locator(".playable").last();
  await point.click();
  await tab.waitForFunction(() => [...document.querySelectorAll("audio")].some((audio) => !audio.paused));
  const [path, ...more] = await playing();
  assert.ok(!more.length && (await point.locator("title").textContent()).startsWith(`${path}: `), path);
});

test("the spectrograms of the page have one colour scale and a legend", async () => {
  const tab = await openTab(browser, url);
  const legend = tab.locator("#hardest svg:has-text('dB below the loudest point')");
  assert.equal(await legend.count(), 1);
  const brightest = await tab.$$eval(".clips svg image", (images) =>
    Promise.all(
      images.map(async (image) => {
        const picture = new Image();
        picture.src = image.getAttribute("href");
        await picture.decode();
        const canvas = new OffscreenCanvas(picture.naturalWidth, picture.naturalHeight).getContext("2d");
        canvas.drawImage(picture, 0, 0);
        const { data } = canvas.getImageData(0, 0, picture.naturalWidth, picture.naturalHeight);
        return data.reduce((most, value, at) => (at % 4 === 0 ? Math.max(most, data[at] + data[at + 1] + data[at + 2]) : most), 0);
      }),
    ),
  );
  const most = Math.max(...brightest);
  assert.equal(most, 252 + 236 + 176, "the end of the scale");
  assert.ok(brightest.some((sum) => sum < most), `only the loudest recording reaches it: ${brightest}`);
});

for (const [name, options] of [
  ["light", { colorScheme: "light" }],
  ["dark", { colorScheme: "dark" }],
  ["phone", { colorScheme: "dark", viewport: { width: 390, height: 844 } }],
]) {
  test(`the page fits its window and letters stand out from the paper: ${name}`, async () => {
    const tab = await openTab(browser, url, options);
    const [wide, room] = await tab.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
    assert.ok(wide <= room, `${wide} of ${room} pixels`);
    // Nor is a class with a long name wider.
    const widened = await tab.evaluate(() => {
      const names = [...document.querySelectorAll(".clips strong")].map((name) => [name, name.textContent]);
      names.forEach(([name]) => (name.textContent = "a_rather_long_instrument_name_of_its_own".repeat(2)));
      const wide = document.documentElement.scrollWidth;
      names.forEach(([name, text]) => (name.textContent = text));
      return names.length > 0 && wide;
    });
    assert.equal(widened, room);
    const [ink, paper] = await tab.evaluate(() => {
      const light = (colour) => colour.match(/\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 3;
      const letters = document.querySelector("svg.plot text.ink");
      return [light(getComputedStyle(letters).fill), light(getComputedStyle(document.body).backgroundColor)];
    });
    assert.ok(Math.abs(ink - paper) > 150, `letters ${ink}, paper ${paper}`);
    assert.equal(paper > 128, name === "light");
    assert.deepEqual(tab.complaints, []);
    await shot(tab, `report-${name}`);
  });
}

const four = `
seeds = [1, 2, 3]
[data]
use = "demo"
clips_per_class = 10
test_recordings = 2
[audio]
clip_seconds = 1.0
[split]
kind = "holdout"
test = 0.2
validation = 0.2
[features.mel]
summary = ["mean", "std"]
[features.centroid]
[models.average]
[models.knn]
[models.logistic]
[models.vote_of_all]
kind = "ensemble"
members = ["mel.average", "mel.knn", "mel.logistic"]
`;

test("at 1280 pixels every column of the score grid and of a comparison is in view", async () => {
  const [experiment, page] = [join(kept, "four.toml"), join(kept, "four.html")];
  writeFileSync(experiment, four);
  const quiet = ["-q", ...places];
  run(["run", experiment, ...quiet]);
  run(["run", experiment, "--set", "models.knn.k=3", ...quiet]);
  const folder = join(kept, "report-runs/four");
  const runs = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => join(folder, name));
  run(["compare", ...runs, "--html", page, "--resamples", "200", ...quiet]);
  for (const [file, tables] of [[join(folder, "latest/report.html"), "#models .wide"], [page, "#results .wide"]]) {
    const tab = await openTab(browser, pathToFileURL(file).href);
    const hidden = await tab.$$eval(tables, (all) => all.filter((box) => box.checkVisibility()).map((box) => box.scrollWidth - box.clientWidth));
    assert.ok(hidden.length > 0 && hidden.every((pixels) => pixels <= 0), `${file}: ${hidden} pixels are hidden`);
    if (file !== page) assert.match(await tab.textContent("#details"), /Figures show the first of 3 seeds\./);
    await shot(tab, `wide-${file === page ? "comparison" : "report"}`);
  }
});

const inWindows = `
description = "Several instruments in windows"
[data]
use = "demo"
clips_per_class = 10
test_recordings = 6
[audio]
clip_seconds = 3.0
[split]
kind = "official"
[features.mel]
summary = ["mean", "std"]
[models.logistic]
[models.average]
[evaluate]
task = "multi_label"
mode = "windows"
`;

test("recordings in windows have the probabilities of their classes over time, and the run says what it cost and how to cite it", async () => {
  const experiment = join(kept, "in_windows.toml");
  writeFileSync(experiment, inWindows);
  run(["run", experiment, "-q", ...places]);
  const report = join(kept, "report-runs/in_windows/latest/report.html");
  const record = JSON.parse(readFileSync(join(kept, "report-runs/in_windows/latest/run.json"), "utf8"));
  const tab = await openTab(browser, pathToFileURL(report).href);
  const items = tab.locator("#hardest .panel:not([hidden]) .clips li");
  const first = items.first().locator("svg");
  assert.equal(await first.count(), 2, "a spectrogram and a timeline");
  assert.match(await first.nth(1).locator("title").textContent(), /^Probabilities over time of /);
  const names = await first.nth(1).locator("text.ink").allTextContents();
  assert.ok(names.some((name) => /\((true|predicted|true and predicted)\)$/.test(name)), names.join());
  assert.equal(await first.nth(1).locator(".thick").count(), 1, "the part that is played");
  assert.match(await tab.textContent("#hardest"), /the thick line is the part that is played/);
  await tab.getByText("Classes that occur together").click();
  const pairs = await tab.$$eval("#data details tbody tr", (rows) => rows.map((row) => [...row.cells].slice(1).map((cell) => Number(cell.textContent))));
  assert.equal(pairs.length, 11);
  pairs.forEach((row, a) => row.forEach((n, b) => assert.equal(n, pairs[b][a], "a pair has no order")));
  assert.ok(pairs.some((row, a) => row.some((n, b) => n > 0 && a !== b)));
  assert.match(await tab.textContent("#models"), /Cost: .* on \d+ threads? \(.*\), at most [\d.]+ [MG]iB of memory, for 2 trials/);
  const cite = await tab.textContent("#cite blockquote");
  assert.ok(cite.includes(record.signature) && /95 % interval/.test(cite) && /bootstrap over songs with \d+ resamples/.test(cite), cite);
  assert.deepEqual(tab.complaints, []);
  await shot(tab, "report-windows");
});

test("the report of a sweep can be read in both themes and on a phone, and fits its window", async () => {
  const sweep = ["grid_quick", "--set", "data.clips_per_class=24", "--set", "grid.models.knn.k=[1,5]", "--set", "grid.features.mel.n_mels=[32,64]"];
  run(["run", ...sweep, "-q", ...places]);
  run(["report", "grid_quick", "-q", ...places]);
  const tab = await openTab(browser, pathToFileURL(join(kept, "report-runs/grid_quick/grid.html")).href);
  assert.ok((await tab.locator("td.heat").count()) > 3, "a heat table of two axes");
  await shot(tab, "report-sweep");
  await tab.setViewportSize({ width: 390, height: 844 });
  const [wide, room] = await tab.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(wide <= room, `${wide} of ${room} pixels`);
  assert.deepEqual(tab.complaints, []);
  const page = join(kept, "sweep-compare.html");
  run(["compare", "grid_quick", "quickstart/latest", "--html", page, "--resamples", "200", "-q", ...places]);
  for (const printed of [join(kept, "report-runs/grid_quick/grid.html"), page]) assert.deepEqual((await beyondThePaper(printed)).beyond, [], printed);
});

test("colours of the score grid mean the same in every report", async () => {
  const tab = await openTab(browser, url);
  const cells = await tab.$$eval("#models td.heat", (cells) => cells.map((cell) => [Number(cell.dataset.v), Number(cell.style.getPropertyValue("--v"))]));
  const trivial = Math.max(...(await tab.$$eval('table[aria-label="Trivial baselines"] td.n', (cells) => cells.map((cell) => Number(cell.dataset.v)))));
  for (const [score, shade] of cells) assert.ok(Math.abs(shade - Math.max(0, (score - trivial) / (1 - trivial))) < 0.01, `${score}: ${shade}`);
});
