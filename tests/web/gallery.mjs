// Makes the pictures of docs/gallery.md from runs on demo data: `TIMBRE=target/release/timbre node tests/web/gallery.mjs`.

import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";

import { kept, openTab, repository, run, serve, startBrowser } from "./browser.mjs";
import { trained } from "./trained.mjs";

const images = join(repository, "docs/images");
const runs = join(kept, "gallery-runs");
const places = ["--runs", runs, "--cache", join(kept, "cache"), "--quiet"];
mkdirSync(images, { recursive: true });

run(["run", "quickstart", ...places]);
run(["run", "grid_quick", ...places]);
const browser = await startBrowser();

/// A part of a page, from the element `first` to the element `last`, as a picture.
const picture = async (url, name, first, last = first, { width = 1000, scheme = "light", isPhoto = false, prepare = async () => {} } = {}) => {
  const tab = await openTab(browser, url, { viewport: { width, height: 900 }, colorScheme: scheme });
  await prepare(tab);
  const boxes = await Promise.all([tab.locator(first).first().boundingBox(), tab.locator(last).last().boundingBox()]);
  const [top, bottom] = [Math.min(...boxes.map((box) => box.y)), Math.max(...boxes.map((box) => box.y + box.height))];
  // Spectrograms are many times smaller as JPEG.
  const form = isPhoto ? { type: "jpeg", quality: 80 } : { type: "png" };
  await tab.screenshot({ ...form, path: join(images, `gallery-${name}.${isPhoto ? "jpg" : "png"}`), fullPage: true, clip: { x: 0, y: Math.max(0, top - 12), width, height: bottom - top + 24 } });
  await tab.context().close();
};

const report = `file://${runs}/quickstart/latest/report.html`;
await picture(report, "conclusion", "h1", ".conclusion");
await picture(report, "confusion", "#details .panel:not([hidden]) figure:nth-child(1)");
await picture(report, "map", "#details .panel:not([hidden]) figure:has(.point)", undefined, { width: 620 });
await picture(report, "hardest", "#hardest .panel:not([hidden]) .clips li:nth-child(1)", "#hardest .panel:not([hidden]) .clips li:nth-child(4)", { scheme: "dark", isPhoto: true });

const model = trained();
const comparison = join(kept, "gallery-compare.html");
run(["compare", `${runs}/quickstart/latest`, `${model.runs}/${model.model}`, "--html", comparison, ...places]);
await picture(`file://${comparison}`, "compare", ".conclusion strong", ".conclusion p:nth-of-type(2)");
await picture(`file://${comparison}`, "best", "#best h2", "#best .figures", { width: 1280 });
await picture(`file://${runs}/grid_quick/grid.html`, "sweep", "h1", ".conclusion");

// The picture has the path as a title.
const recording = join(kept, "concert.wav");
copyFileSync(model.longRecordings()[0], recording);
const server = await serve([model.model, "--runs", model.runs, "--windows"]);
await picture(server.url, "page", ".card", undefined, {
  isPhoto: true,
  prepare: async (tab) => {
    await tab.setInputFiles("#file", recording);
    await tab.waitForFunction(() => document.querySelector(".picture:not(.is-working) canvas")?.width > 300);
  },
});
await server.stop();
const timeline = join(kept, "gallery-timeline.svg");
run(["predict", model.model, relative(repository, recording), "--runs", model.runs, "--quiet", "--plot", timeline]);
const shown = join(kept, "gallery-timeline.html");
writeFileSync(shown, `<body style="margin: 0"><img src="${timeline}" width="1000">`);
await picture(`file://${shown}`, "timeline", "img", undefined, { isPhoto: true });
await browser.close();
