// Recording with Chromium's fake microphone: one that plays a file, none, and one that is denied.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { openTab, serve, shot, startBrowser } from "./browser.mjs";
import { surest, trained } from "./trained.mjs";

const FAKE = "--use-fake-device-for-media-stream";
const ALLOW = "--use-fake-ui-for-media-stream";

let [model, server] = [];
before(async () => {
  model = trained();
  server = await serve([model.model, "--runs", model.runs, "--windows"]);
});
after(() => server?.stop());

/// Opens the section Record in a new Chromium.
const recording = async (args, use, options = {}) => {
  const browser = await startBrowser(args);
  try {
    const tab = await openTab(browser, `${server.url}/#record`, options);
    await use(tab);
    assert.deepEqual(tab.complaints, []);
  } finally {
    await browser.close();
  }
};

test("a recorded instrument is named", async () => {
  const { code, path } = surest(model);
  await recording([FAKE, ALLOW, `--use-file-for-fake-audio-capture=${path}`], async (tab) => {
    await tab.evaluate(() => {
      const append = FormData.prototype.append;
      FormData.prototype.append = function (field, blob, name) {
        window.sent = { field, kind: blob.type, name };
        append.call(this, field, blob, name);
      };
    });
    await tab.getByRole("button", { name: "Start recording" }).click();
    await tab.getByRole("button", { name: "Stop and analyse" }).waitFor();
    await tab.waitForFunction(() => Number(document.getElementById("level").getAttribute("aria-valuenow")) > 20);
    await tab.waitForFunction(() => document.getElementById("record-clock").textContent >= "0:05");
    await shot(tab, "recording");
    const pulse = await tab.$eval(".halo", (halo) => getComputedStyle(halo).animationName);
    assert.equal(pulse, "pulse");
    await tab.getByRole("button", { name: "Stop and analyse" }).click();
    await tab.locator(".card .named li").first().waitFor();
    const sent = await tab.evaluate(() => window.sent);
    assert.match(sent.name, /^Recording .*\.webm$/);
    assert.equal(sent.kind, "audio/webm;codecs=opus");
    assert.equal(await tab.locator(".card .named .icon").first().getAttribute("data-code"), code);
    assert.match(await tab.textContent("#live"), /^Recording .*%\)/);
    await tab.waitForFunction(() => document.querySelector(".picture:not(.is-working) canvas")?.width > 300);
    await shot(tab, "recorded");
    // The recording can be played.
    await tab.getByRole("button", { name: "Play" }).click();
    await tab.waitForFunction(() => Number(document.querySelector(".score").style.getPropertyValue("--at")) > 0.02);
  });
});

test("a discarded recording is not sent", async () => {
  await recording([FAKE, ALLOW], async (tab) => {
    const asked = [];
    tab.on("request", (request) => request.method() === "POST" && asked.push(request.url()));
    await tab.getByRole("button", { name: "Start recording" }).click();
    await tab.waitForFunction(() => document.getElementById("record-clock").textContent >= "0:01");
    await tab.getByRole("button", { name: "Discard" }).click();
    await tab.getByRole("button", { name: "Start recording" }).waitFor();
    assert.equal(await tab.textContent("#live"), "The recording was discarded.");
    assert.deepEqual(asked, []);
  });
});

test("a denied microphone shows what to do", async () => {
  await recording([FAKE, "--deny-permission-prompts"], async (tab) => {
    await tab.getByRole("button", { name: "Start recording" }).click();
    await tab.getByText(/Microphone access was denied\. Allow it/).waitFor();
    await shot(tab, "microphone-denied");
    await tab.selectOption("#language", "hr");
    await tab.getByText(/Mikrofon ovdje nije dopušten/).waitFor();
    await tab.getByRole("button", { name: "Počni snimati" }).waitFor();
  });
});

test("without a microphone, the page suggests a file", async () => {
  await recording([ALLOW], async (tab) => {
    await tab.getByRole("button", { name: "Start recording" }).click();
    await tab.getByText(/No microphone was found/).waitFor();
    await shot(tab, "no-microphone");
  });
});

test("a page on another host without HTTPS explains why it has no microphone", async () => {
  await recording([FAKE, ALLOW], async (tab) => {
    await tab.evaluate(() => Object.defineProperty(window, "isSecureContext", { value: false }));
    await tab.getByRole("button", { name: "Start recording" }).click();
    await tab.getByText(/only to pages on the same computer or over HTTPS/).waitFor();
  });
});
