// Recording with Chromium's fake microphone: one that plays a file, none, and one that is denied.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { downloaded, drawn, hasResult, openTab, posted, serve, shot, startBrowser } from "./browser.mjs";
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
    await hasResult(tab);
    const sent = await tab.evaluate(() => window.sent);
    assert.match(sent.name, /^Recording .*\.webm$/);
    assert.equal(sent.kind, "audio/webm;codecs=opus");
    assert.equal(await tab.locator(".card .named .icon").first().getAttribute("data-code"), code);
    assert.match(await tab.textContent("#live"), /^Recording .*%\)/);
    await drawn(tab);
    await shot(tab, "recorded");
    // The recording can be played.
    await tab.getByRole("button", { name: "Play" }).click();
    await tab.waitForFunction(() => Number(document.querySelector(".score").style.getPropertyValue("--at")) > 0.02);
  });
});

test("a discarded recording is not sent", async () => {
  await recording([FAKE, ALLOW], async (tab) => {
    const requests = posted(tab);
    await tab.getByRole("button", { name: "Start recording" }).click();
    await tab.waitForFunction(() => document.getElementById("record-clock").textContent >= "0:01");
    await tab.getByRole("button", { name: "Discard" }).click();
    await tab.getByRole("button", { name: "Start recording" }).waitFor();
    assert.equal(await tab.textContent("#live"), "The recording was discarded.");
    assert.deepEqual(requests, []);
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

/// Starts recording and stops after some seconds with the button of a name.
const recorded = async (tab, stop, seconds = 3) => {
  await tab.getByRole("button", { name: "Start recording" }).click();
  await tab.waitForFunction((seconds) => document.getElementById("record-clock").textContent >= `0:0${seconds}`, seconds);
  await tab.getByRole("button", { name: stop }).click();
};

test("a recording is saved as the browser made it and as WAV", async () => {
  await recording([FAKE, ALLOW], async (tab) => {
    await recorded(tab, "Stop and analyse");
    await hasResult(tab);
    const { name, bytes } = await downloaded(tab, "save_recording");
    assert.match(name, /^Recording \d{4}-\d\d-\d\d \d\d\.\d\d\.\d\d\.webm$/);
    // The first bytes of Matroska.
    assert.deepEqual([...bytes.subarray(0, 4)], [0x1a, 0x45, 0xdf, 0xa3]);
    const { name: wavName, bytes: sound } = await downloaded(tab, "save_wav");
    assert.equal(wavName, name.replace("webm", "wav"));
    assert.equal(sound.toString("latin1", 0, 4) + sound.toString("latin1", 8, 16), "RIFFWAVEfmt ");
    const [channels, rate, bits, size] = [sound.readUInt16LE(22), sound.readUInt32LE(24), sound.readUInt16LE(34), sound.readUInt32LE(40)];
    assert.deepEqual([rate, bits, sound.length], [48000, 16, 44 + size]);
    const seconds = size / (2 * channels * rate);
    assert.ok(seconds > 2.5 && seconds < 5, `${seconds} s`);
    // Chromium's fake microphone beeps.
    const samples = new Int16Array(sound.buffer.slice(sound.byteOffset + 44, sound.byteOffset + 44 + size));
    assert.ok(samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0) > 1000);
    // The server hears the same recording in both.
    const { seconds: whole } = JSON.parse((await downloaded(tab, "save_json")).text);
    assert.ok(Math.abs(whole - seconds) < 0.1, `${whole} ${seconds}`);
  });
});

test("a recording and its result survive a reload until they are removed", async () => {
  await recording([FAKE, ALLOW], async (tab) => {
    await recorded(tab, "Stop and analyse");
    await hasResult(tab);
    const before = await tab.textContent(".card .named");
    const name = await tab.textContent(".card h2");
    await tab.waitForFunction(
      () =>
        new Promise((resolve) => {
          const opened = indexedDB.open("timbre", 1);
          opened.onsuccess = () => (opened.result.transaction("recordings").objectStore("recordings").getAll().onsuccess = ({ target }) => (opened.result.close(), resolve(Boolean(target.result[0]?.answer))));
        }),
    );
    const requests = posted(tab);
    await tab.reload();
    await hasResult(tab);
    assert.equal(await tab.textContent(".card .named"), before);
    assert.equal(await tab.textContent(".card h2"), name);
    assert.deepEqual(requests, [], "the answer is kept too");
    await tab.click(".card summary");
    await tab.getByRole("button", { name: "Play", exact: true }).click();
    await tab.waitForFunction(() => document.querySelector("audio").currentTime > 0.1);
    await tab.getByRole("button", { name: /^Remove Recording/ }).click();
    await tab.waitForTimeout(300);
    await tab.reload();
    await tab.waitForFunction(() => document.querySelector("#model option"));
    await tab.waitForTimeout(300);
    assert.equal(await tab.locator(".card").count(), 0);
  });
});

test("a part of a recording can be chosen, heard and sent", async () => {
  await recording([FAKE, ALLOW], async (tab) => {
    const requests = posted(tab);
    await recorded(tab, "Stop and choose a part");
    await tab.waitForFunction(() => document.activeElement.id === "trim-title");
    await tab.focus("#trim-start");
    for (let i = 0; i < 10; i++) await tab.keyboard.press("ArrowRight");
    assert.match(await tab.textContent("#trim-words"), /^From 1\.0\ss to /);
    await shot(tab, "trim");
    await tab.setViewportSize({ width: 390, height: 844 });
    await shot(tab, "trim-390");
    await tab.getByRole("button", { name: "Play the part" }).click();
    await tab.getByRole("button", { name: "Pause" }).click();
    assert.deepEqual(requests, [], "nothing is sent before the part is chosen");
    const long = Number((await tab.textContent("#trim-words")).match(/: ([\d.]+)/)[1]);
    await tab.getByRole("button", { name: "Analyse the part" }).click();
    await hasResult(tab);
    assert.match(await tab.textContent(".card h2"), /\.wav$/);
    const { seconds } = JSON.parse((await downloaded(tab, "save_json")).text);
    assert.ok(Math.abs(seconds - long) < 0.1, `${seconds} ${long}`);
  });
});

test("live mode analyses the last seconds again and again, bars move, and nothing is kept", async () => {
  const { code, path } = surest(model);
  await recording([FAKE, ALLOW, `--use-file-for-fake-audio-capture=${path}`], async (tab) => {
    const requests = posted(tab);
    await tab.getByRole("button", { name: "Analyse live" }).click();
    await tab.waitForFunction(() => document.querySelector("#live-bars .is-named"), null, { timeout: 20_000 });
    assert.equal(await tab.locator("#live-bars li").count(), 11);
    await tab.waitForFunction((code) => document.querySelector("#live-bars .is-named .icon")?.dataset.code === code, code, { timeout: 20_000 });
    const first = requests.length;
    await tab.waitForFunction(() => getComputedStyle(document.querySelector("#live-bars .is-named .bar i")).transform !== "none");
    await shot(tab, "live");
    await new Promise((go) => setTimeout(go, 2500));
    assert.ok(requests.length > first, `${requests.length} requests`);
    await tab.getByRole("button", { name: "Stop" }).click();
    const after = requests.length;
    assert.equal(await tab.locator("#live-bars").isVisible(), false);
    await new Promise((go) => setTimeout(go, 1500));
    assert.equal(requests.length, after, "no request after the stop");
    assert.equal(await tab.locator(".card").count(), 0);
  });
});

test("live mode says why there is no microphone", async () => {
  await recording([], async (tab) => {
    await tab.getByRole("button", { name: "Analyse live" }).click();
    await tab.waitForFunction(() => document.getElementById("live-trouble").textContent !== "");
    assert.match(await tab.textContent("#live-trouble"), /microphone/i);
    assert.equal(await tab.locator("#live-bars").isVisible(), false);
  });
});
