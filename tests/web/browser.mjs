// Chromium and the program, as the tests of the page and of the HTML reports use them.

import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const repository = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const target = resolve(process.env.CARGO_TARGET_DIR ?? join(repository, "target"));
/// The program that is tested; `make test-web` has built it.
export const timbre = process.env.TIMBRE ?? join(target, "release", "timbre");
/// What the tests keep from one time to the next: made-up recordings and trained models.
export const kept = join(target, "web");
/// Pictures of what was seen, for people to look at.
const shots = process.env.TIMBRE_SHOTS ?? join(kept, "shots");
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";

/// Chromium without a window. `args` are added to its command line.
export const startBrowser = (args = []) => {
  if (!existsSync(executablePath)) throw new Error(`no browser at ${executablePath}: apt-get install chromium, or name one in CHROMIUM`);
  const quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  return chromium.launch({ executablePath, headless: true, args: [...quiet, ...args] });
};

/// A tab of its own. `options` are those of a browser context (viewport, colorScheme, locale, permissions, …). The tab's
/// `complaints` are what the console called an error or a warning, and what the page threw.
export const openTab = async (browser, url, options = {}) => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: "en-GB", ...options });
  const tab = await context.newPage();
  tab.complaints = [];
  tab.on("console", (message) => ["error", "warning"].includes(message.type()) && tab.complaints.push(message.text()));
  tab.on("pageerror", (error) => tab.complaints.push(String(error)));
  await tab.goto(url);
  return tab;
};

/// Keeps a picture of the whole page.
export const shot = async (tab, name) => {
  mkdirSync(shots, { recursive: true });
  await tab.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
};

/// Runs the program to its end and gives what it printed.
export const run = (args) => {
  const ended = spawnSync(timbre, args, { cwd: repository, encoding: "utf8", maxBuffer: 1 << 26 });
  if (ended.error) throw ended.error;
  if (ended.status !== 0) throw new Error(`timbre ${args.join(" ")} ended with ${ended.status}:\n${ended.stderr}`);
  return ended.stdout;
};

/// Starts `timbre serve` on a port of its own and waits until it listens; `stop` ends it. `env` is added to the environment.
export const serve = async (args, env = {}) => {
  const child = spawn(timbre, ["serve", ...args, "--addr", "127.0.0.1:0"], { cwd: repository, env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  child.stderr.on("data", (text) => (said += text));
  const url = await new Promise((listens, fails) => {
    let line = "";
    child.stdout.on("data", (text) => {
      line += text;
      const found = line.match(/listening on (http:\S+)/);
      if (found) listens(found[1]);
    });
    child.on("exit", (code) => fails(new Error(`timbre serve ended with ${code}:\n${said}`)));
  });
  const stop = () =>
    new Promise((ended) => {
      child.on("exit", ended);
      child.kill("SIGTERM");
    });
  return { url, stop };
};
