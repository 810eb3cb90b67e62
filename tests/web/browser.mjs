// Starts Chromium and the program for the tests of the page and of the HTML reports.

import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

import { accessible } from "./axe.mjs";

export const repository = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const target = resolve(process.env.CARGO_TARGET_DIR ?? join(repository, "target"));
/// The program under test; `make test-web` builds it.
export const timbre = process.env.TIMBRE ?? join(target, "release", "timbre");
/// Kept between test runs: synthetic recordings and trained models.
export const kept = join(target, "web");
/// Screenshots for people.
const shots = process.env.TIMBRE_SHOTS ?? join(kept, "shots");
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";

/// Starts headless Chromium with additional command-line `args`.
export const startBrowser = (args = []) => {
  if (!existsSync(executablePath)) throw new Error(`no browser at ${executablePath}: apt-get install chromium, or name one in CHROMIUM`);
  const quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  return chromium.launch({ executablePath, headless: true, args: [...quiet, ...args] });
};

/// Opens a tab in a new context with `options` (viewport, colorScheme, locale, permissions, …). Its `complaints` are the errors and
/// warnings of the console and the exceptions of the page. `before` is called with the tab before it is opened.
export const openTab = async (browser, url, { before = null, ...options } = {}) => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: "en-GB", ...options });
  const tab = await context.newPage();
  tab.complaints = [];
  tab.on("console", (message) => ["error", "warning"].includes(message.type()) && tab.complaints.push(message.text()));
  tab.on("pageerror", (error) => tab.complaints.push(String(error)));
  await before?.(tab);
  await tab.goto(url);
  return tab;
};

/// Saves a screenshot of the whole page, and checks the state with axe.
export const shot = async (tab, name) => {
  mkdirSync(shots, { recursive: true });
  await tab.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
  await accessible(tab, name);
};

/// Waits for a result.
export const hasResult = (tab) => tab.locator(".card .named li").first().waitFor();

/// Waits for a spectrogram.
export const drawn = (tab, options) => tab.waitForFunction(() => document.querySelector(".picture:not(.is-working) canvas")?.width > 300, null, options);

/// The file that a button saves.
export const downloaded = async (tab, key) => {
  const [download] = await Promise.all([tab.waitForEvent("download"), tab.click(`[data-save="${key}"]`)]);
  const bytes = readFileSync(await download.path());
  return { name: download.suggestedFilename(), bytes, text: bytes.toString() };
};

/// The addresses to which the page posts from now on.
export const posted = (tab) => {
  const requests = [];
  tab.on("request", (request) => request.method() === "POST" && requests.push(request.url()));
  return requests;
};

/// Runs the program and returns its stdout.
export const run = (args) => {
  const ended = spawnSync(timbre, args, { cwd: repository, encoding: "utf8", maxBuffer: 1 << 26 });
  if (ended.error) throw ended.error;
  if (ended.status !== 0) throw new Error(`timbre ${args.join(" ")} ended with ${ended.status}:\n${ended.stderr}`);
  return ended.stdout;
};

/// Starts `timbre serve` on a free port with additional environment variables, and waits until it listens. `stop` ends it.
export const serve = async (args, env = {}) => {
  const child = spawn(timbre, ["serve", ...args, "--addr", "127.0.0.1:0"], { cwd: repository, env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  let stderr = "";
  child.stderr.on("data", (text) => (stderr += text));
  const url = await new Promise((resolve, reject) => {
    let line = "";
    child.stdout.on("data", (text) => {
      line += text;
      const found = line.match(/listening on (http:\S+)/);
      if (found) resolve(found[1]);
    });
    child.on("exit", (code) => reject(new Error(`timbre serve ended with ${code}:\n${stderr}`)));
  });
  const stop = () =>
    new Promise((ended) => {
      child.on("exit", ended);
      child.kill("SIGTERM");
    });
  return { url, stop };
};
