// The page of `timbre serve` in a browser.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, describe, test } from "node:test";

import { downloaded, drawn, openTab, serve, shot } from "./browser.mjs";
import { unreadable } from "./contrast.mjs";
import { browser, model, server } from "./site.mjs";
import { predicted, trained } from "./trained.mjs";

const noText = join(tmpdir(), "no-music.txt");
writeFileSync(noText, "This is not a recording.\n");

const hasResults = (tab, many = 1) => tab.waitForFunction((many) => document.querySelectorAll(".card .named li").length >= many, many);
const named = (tab) => tab.$$eval(".card:first-child .named .icon", (icons) => icons.map((icon) => icon.dataset.code));
const live = (tab) => tab.textContent("#live");
const slide = (tab, id, value) =>
  tab.$eval(
    `#${id}`,
    (slider, value) => {
      slider.value = value;
      slider.dispatchEvent(new Event("input", { bubbles: true }));
      slider.dispatchEvent(new Event("change", { bubbles: true }));
    },
    value,
  );

test("an uploaded recording shows the classes that `timbre predict` decides", async () => {
  const tab = await openTab(browser, server.url);
  for (const code of ["pia", "sax"]) {
    const [path] = model.clips(code);
    const [predictedFile] = predicted(model, [path], ["--windows"]);
    await tab.setInputFiles("#file", path);
    await tab.waitForFunction((name) => document.querySelector(".card h2")?.textContent === name && document.querySelector(".card:first-child .named li"), basename(path));
    assert.deepEqual(await named(tab), predictedFile.decided);
    assert.equal(await tab.locator(".card").first().locator(".rows > li").count(), 11);
  }
  assert.deepEqual(tab.complaints, []);
});

test("several recordings at once, with the error of a text file in the chosen language", async () => {
  const tab = await openTab(browser, server.url);
  await tab.setInputFiles("#file", [model.clips("flu")[0], noText, model.clips("org")[1], model.clips("voi")[2]]);
  await hasResults(tab, 3);
  const refused = tab.locator(".card", { hasText: "no-music.txt" });
  await refused.locator(".trouble").waitFor();
  assert.match(await refused.locator(".trouble").textContent(), /^[a-z].*[a-z]/i);
  await shot(tab, "several-and-a-text-file");
  await tab.selectOption("#language", "hr");
  assert.match(await refused.locator(".trouble").textContent(), /snimk/);
  await refused.getByRole("button", { name: "Ukloni no-music.txt" }).click();
  assert.equal(await tab.locator(".card").count(), 3);
  // The browser logs responses with an error status.
  assert.deepEqual(tab.complaints.filter((line) => !/status of 422/.test(line)), []);
});

test("an address that does not exist has a page that leads to the first one", async () => {
  const tab = await openTab(browser, `${server.url}/nowhere`);
  assert.equal(await tab.textContent("h1"), "There is no page at this address");
  await shot(tab, "not-found");
  await tab.getByRole("link", { name: "Classify recordings" }).click();
  await tab.locator("#file").waitFor();
  // The browser logs responses with an error status.
  assert.deepEqual(tab.complaints.filter((line) => !/status of 404/.test(line)), []);
});

test("of a file that is cut off the beginning is classified, and the card says how much that is", async () => {
  const whole = readFileSync(model.clips("pia")[0]);
  const path = join(tmpdir(), "half.wav");
  writeFileSync(path, whole.subarray(0, 44 + (whole.length - 44) / 2));
  const tab = await openTab(browser, server.url);
  await tab.setInputFiles("#file", path);
  await hasResults(tab);
  const said = "The file is cut off: only the first 1.5\u00a0s of 3\u00a0s were there to use.";
  assert.equal(await tab.textContent(".card .cut-off"), said);
  assert.ok((await live(tab)).includes(said));
  await shot(tab, "cut-off");
  await tab.selectOption("#language", "hr");
  assert.match(await tab.textContent(".card .result"), /Datoteka je odrezana: korišten je samo početak, 1,5\u00a0s od 3\u00a0s\./);
  assert.deepEqual(tab.complaints, []);
});

test("a touch screen is not told to drop recordings", async () => {
  for (const isTouch of [true, false]) {
    const tab = await openTab(browser, server.url, { hasTouch: isTouch, isMobile: isTouch });
    assert.equal(await tab.locator('[data-text="or_drop"]').isVisible(), !isTouch);
  }
});

test("the right classes of recordings are saved as the corrections of a data set", async () => {
  const tab = await openTab(browser, server.url);
  const paths = [model.clips("vio")[0], model.clips("cel")[0]];
  await tab.setInputFiles("#file", paths);
  await hasResults(tab, 2);
  await tab.$$eval(".card > details", (all) => all.forEach((details) => (details.open = true)));
  const card = (path) => tab.locator(".card", { hasText: basename(path) });
  assert.equal(await tab.locator('[data-save="corrections"]:visible').count(), 0);
  await card(paths[0]).getByLabel("The right classes").fill("viola");
  await card(paths[1]).getByLabel("The right classes").fill(" cel ; pia;");
  assert.equal(await tab.getByRole("button", { name: "Save 2 corrections" }).count(), 2);
  await shot(tab, "corrections");
  const [download] = await Promise.all([tab.waitForEvent("download"), card(paths[1]).getByRole("button", { name: "Save 2 corrections" }).click()]);
  assert.equal(download.suggestedFilename(), "corrections.csv");
  const lines = readFileSync(await download.path(), "utf8").trim().split("\r\n");
  assert.deepEqual([lines[0], ...lines.slice(1).sort()], ["recording,labels", ...[`${basename(paths[0])},viola`, `${basename(paths[1])},cel;pia`].sort()]);
  assert.deepEqual(tab.complaints, []);
});

test("recordings can be dropped anywhere", async () => {
  const tab = await openTab(browser, server.url);
  const bytes = readFileSync(model.clips("tru")[0]).toString("base64");
  await tab.evaluate((bytes) => {
    const data = new DataTransfer();
    data.items.add(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], "dropped.wav"));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
  }, bytes);
  await hasResults(tab);
  assert.equal(await tab.textContent(".card h2"), "dropped.wav");
});

test("the sliders decide as the server does, without a request", async () => {
  const tab = await openTab(browser, server.url);
  const path = model.longRecordings()[0];
  await tab.setInputFiles("#file", path);
  await hasResults(tab);
  const requests = [];
  tab.on("request", (request) => requests.push(request.url()));
  assert.equal(await tab.isVisible("#cutoff"), false, "the most likely class needs no threshold");
  await tab.getByRole("radio", { name: "All above a threshold for long enough" }).check();
  for (const [cutoff, fraction] of [[0.05, 0], [0.3, 0.26], [0.02, 0.5], [0.99, 0.9]]) {
    await slide(tab, "cutoff", cutoff);
    await slide(tab, "fraction", fraction);
    const form = new FormData();
    form.append("file", new Blob([readFileSync(path)]), basename(path));
    const response = await fetch(`${server.url}/api/v1/predict?cutoff=${cutoff}&fraction=${fraction}`, { method: "POST", body: form });
    const { instruments } = await response.json();
    const expected = instruments.filter((one) => one.decided).map((one) => one.code);
    assert.deepEqual(await named(tab), expected.length ? expected : ["neutral"], `${cutoff} ${fraction}`);
    assert.match(await live(tab), expected.length ? /: .+ \(in \d+% of the recording\)/ : /no class\. .*The highest is/);
  }
  await shot(tab, "no-instrument-decided");
  assert.deepEqual(requests.filter((url) => !url.startsWith("blob:")), []);
  await tab.getByRole("button", { name: "Reset to model default" }).click();
  assert.deepEqual(await named(tab), predicted(model, [path], ["--windows"])[0].decided);
  assert.deepEqual(tab.complaints, []);
});

test("results can be saved as JSON and CSV", async () => {
  const tab = await openTab(browser, server.url);
  await tab.setInputFiles("#file", model.longRecordings()[1]);
  await hasResults(tab);
  const { name, text } = await downloaded(tab, "save_json");
  const saved = JSON.parse(text);
  assert.match(name, /\.json$/);
  assert.equal(saved.instruments.length, 11);
  assert.deepEqual(saved.decision.instruments.filter((one) => one.decided).map((one) => one.code), await named(tab));
  const lines = (await downloaded(tab, "save_csv")).text.trim().split("\r\n");
  assert.equal(lines[0], "recording,code,name,score,rule,threshold,window_threshold,decided,in_part");
  assert.equal(lines.length, 12);
  assert.match(lines[1], /,most_likely,,,true,false$/);
  const windows = (await downloaded(tab, "save_windows")).text.trim().split("\r\n");
  assert.equal(windows.length, saved.timeline.starts.length + 1);
});

test("the spectrogram is drawn, and the position follows playback", async () => {
  const tab = await openTab(browser, server.url);
  await tab.setInputFiles("#file", model.longRecordings()[0]);
  await hasResults(tab);
  await drawn(tab);
  const colours = await tab.$eval(".picture canvas", (canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
  });
  assert.ok(colours > 50, `${colours} colours`);
  await tab.getByRole("button", { name: "Play" }).click();
  await tab.waitForFunction(() => Number(document.querySelector(".score").style.getPropertyValue("--at")) > 0.02);
  await tab.getByRole("button", { name: "Pause" }).click();
  // The position is a slider that the keyboard moves.
  await tab.focus(".picture input");
  await tab.keyboard.press("End");
  assert.ok(Number(await tab.$eval(".score", (score) => score.style.getPropertyValue("--at"))) > 0.98);
  assert.match(await tab.getAttribute(".picture input", "aria-valuetext"), /^0:\d\d of 0:\d\d$/);
  assert.deepEqual(tab.complaints, []);
});

test("a full server is retried after `Retry-After`, and an unreachable one is reported", async () => {
  const tab = await openTab(browser, server.url);
  let requests = 0;
  await tab.route("**/api/v1/predict*", (route) =>
    ++requests === 1 ? route.fulfill({ status: 503, headers: { "Retry-After": "1" }, contentType: "application/problem+json", body: '{"code":"full","detail":"full"}' }) : route.continue(),
  );
  await tab.setInputFiles("#file", model.clips("gac")[0]);
  await tab.getByText("The server is busy; retrying in 1 s").waitFor();
  await hasResults(tab);
  assert.equal(requests, 2);
  await tab.unroute("**/api/v1/predict*");
  await tab.route("**/api/v1/predict*", (route) => route.abort());
  await tab.setInputFiles("#file", model.clips("gac")[1]);
  await tab.locator(".card .trouble", { hasText: "The server does not respond. Is it still running?" }).waitFor();
  await tab.unroute("**/api/v1/predict*");
  await tab.getByRole("button", { name: "Try again" }).click();
  await hasResults(tab, 2);
});

test("a request in progress is shown and can be cancelled", async () => {
  const tab = await openTab(browser, server.url);
  await tab.route("**/api/v1/predict*", async (route) => {
    await new Promise((go) => setTimeout(go, 3000));
    await route.continue().catch(() => {});
  });
  await tab.setInputFiles("#file", model.clips("gel")[0]);
  await tab.locator(".card .dots").waitFor();
  await shot(tab, "waiting");
  await tab.getByRole("button", { name: "Cancel" }).click();
  await tab.locator(".card .trouble", { hasText: "Cancelled." }).waitFor();
  assert.match(await live(tab), /: Cancelled\.$/);
});

test("the page can be used with the keyboard alone", async () => {
  const tab = await openTab(browser, server.url);
  const focused = () => tab.evaluate(() => document.activeElement.id || document.activeElement.getAttribute("href") || document.activeElement.className);
  const seen = [];
  for (let i = 0; i < 7; i++) {
    await tab.keyboard.press("Tab");
    seen.push(await focused());
  }
  assert.deepEqual(seen, ["#main", "#listen", "#record", "#about", "language", "theme", "file"]);
  await tab.setInputFiles("#file", model.clips("cel")[0]);
  await hasResults(tab);
  await tab.focus("#kinds input:checked");
  await tab.keyboard.press("ArrowDown");
  await tab.focus("#cutoff");
  for (let i = 0; i < 60; i++) await tab.keyboard.press("ArrowRight");
  assert.match(await tab.getAttribute("#cutoff", "aria-valuetext"), /%$/);
  await tab.focus("nav a[href='#record']");
  await tab.keyboard.press("Enter");
  await tab.waitForFunction(() => document.activeElement.id === "record-title");
  assert.equal(await tab.getAttribute("nav a[href='#record']", "aria-current"), "page");
});

test("every control has an accessible name", async () => {
  const tab = await openTab(browser, server.url);
  await tab.setInputFiles("#file", model.clips("vio")[0]);
  await hasResults(tab);
  for (const place of ["listen", "record", "about"]) {
    await tab.click(`nav a[href="#${place}"]`);
    const nameless = await tab.$$eval("button, input, select, a, canvas[role]", (all) =>
      all.filter((one) => one.checkVisibility() && !(one.ariaLabel || one.textContent.trim() || one.labels?.[0]?.textContent.trim())).map((one) => one.outerHTML.slice(0, 80)),
    );
    assert.deepEqual(nameless, [], place);
  }
});

describe("both themes, both languages, wide and narrow", () => {
  for (const [locale, language] of [["en-GB", "en"], ["hr-HR", "hr"]]) {
    for (const colorScheme of ["light", "dark"]) {
      for (const width of [1280, 390]) {
        test(`${language}, ${colorScheme}, ${width} px`, async () => {
          const tab = await openTab(browser, server.url, { locale, colorScheme, viewport: { width, height: 844 } });
          const look = async (place) => {
            await shot(tab, `${place}-${language}-${colorScheme}-${width}`);
            assert.ok((await tab.evaluate(() => document.documentElement.scrollWidth)) <= width, `${place} is wider than the screen`);
            assert.deepEqual(await tab.evaluate(unreadable), [], `${place}: contrast`);
          };
          assert.equal(await tab.getAttribute("html", "lang"), language);
          await look("listen");
          await tab.setInputFiles("#file", [model.longRecordings()[0]]);
          await hasResults(tab);
          await drawn(tab);
          await tab.check("#kinds input[value=share]");
          await slide(tab, "cutoff", 0.15);
          await look("answer");
          await tab.click('nav a[href="#record"]');
          await look("record");
          await tab.click('nav a[href="#about"]');
          await tab.locator(".known li").first().waitFor();
          await look("about");
          assert.deepEqual(tab.complaints, []);
        });
      }
    }
  }

  test("a choice of language and colours is remembered", async () => {
    const tab = await openTab(browser, server.url);
    await tab.selectOption("#language", "hr");
    await tab.selectOption("#theme", "dark");
    await tab.reload();
    await tab.getByRole("heading", { name: "Koje su klase u ovoj snimci?" }).waitFor();
    assert.equal(await tab.getAttribute("html", "data-theme"), "dark");
  });
});

describe("a model that uses one clip", () => {
  let clips;
  before(async () => (clips = await serve([model.model, "--runs", model.runs])));
  after(() => clips?.stop());

  test("shows confidences and a note that there is no timeline", async () => {
    const tab = await openTab(browser, clips.url);
    const [path] = model.clips("org");
    await tab.setInputFiles("#file", path);
    await hasResults(tab);
    await drawn(tab);
    assert.deepEqual(await named(tab), predicted(model, [path])[0].decided);
    assert.match(await tab.textContent(".card"), /no timeline/);
    assert.equal(await tab.isVisible("#fraction"), false);
    assert.doesNotMatch(await tab.textContent("#listen .lead"), /when/);
    await shot(tab, "one-clip");
    // The part that was used is marked.
    const [long] = model.longRecordings();
    await tab.setInputFiles("#file", long);
    await hasResults(tab, 2);
    const card = tab.locator(".card", { hasText: basename(long) });
    assert.match(await card.textContent(), /marked in the spectrogram/);
    const [used, picture] = await Promise.all([".used", ".picture"].map((selector) => card.locator(selector).boundingBox()));
    const { used: part, seconds } = await (await fetch(`${clips.url}/api/v1/predict`, { method: "POST", body: readFileSync(long) })).json();
    assert.ok(Math.abs((used.x - picture.x) / picture.width - part.start / seconds) < 0.01 && Math.abs(used.width / picture.width - part.share) < 0.01, JSON.stringify([used, picture, part]));
    assert.deepEqual(tab.complaints, []);
  });
});

describe("a server that requires a token", () => {
  let guarded;
  before(async () => (guarded = await serve([model.model, "--runs", model.runs, "--windows"], { TIMBRE_TOKEN: "open sesame" })));
  after(() => guarded?.stop());

  test("keeps the token as long as the tab is open", async () => {
    const tab = await openTab(browser, guarded.url);
    await tab.getByLabel("Enter the access token").fill("open barley");
    await tab.getByRole("button", { name: "Continue" }).click();
    await tab.getByText("Wrong access token.").waitFor();
    await shot(tab, "token");
    await tab.getByLabel("Enter the access token").fill("open sesame");
    await tab.getByRole("button", { name: "Continue" }).click();
    await tab.waitForFunction(() => document.getElementById("token-form").hidden);
    await tab.setInputFiles("#file", model.clips("pia")[0]);
    await hasResults(tab);
    await tab.reload();
    await tab.setInputFiles("#file", model.clips("pia")[0]);
    await hasResults(tab);
  });
});

describe("several models", () => {
  let many;
  before(async () => {
    const { model, runs } = trained("quickstart");
    many = await serve([`${model}:mel.logistic.s1=0.7`, `${model}:fft.logistic.s1=0.3`, "--runs", runs]);
  });
  after(() => many?.stop());

  test("can be chosen, and each has a section under About", async () => {
    const tab = await openTab(browser, many.url);
    const choices = await tab.locator("#model option").allTextContents();
    assert.equal(choices.length, 3);
    for (const [n, choice] of choices.entries()) {
      await tab.selectOption("#model", choice);
      await tab.setInputFiles("#file", model.clips("tru")[0]);
      await hasResults(tab, n + 1);
      assert.match(await tab.locator(".card .trust").first().textContent(), new RegExp(choice.replaceAll(".", "\\.")));
    }
    await tab.click('nav a[href="#about"]');
    assert.equal(await tab.locator("#about .model").count(), 3);
    assert.match(await tab.locator("#about").textContent(), /No measurements for this ensemble/);
    await shot(tab, "several-models");
    assert.deepEqual(tab.complaints, []);
  });
});
