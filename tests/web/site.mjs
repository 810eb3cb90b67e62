// The server with a trained model, and the browser, of a test file. Importing this starts both before its first test.

import { after, before } from "node:test";

import { serve, startBrowser } from "./browser.mjs";
import { trained } from "./trained.mjs";

export let [model, server, browser] = [];
before(async () => {
  model = trained();
  server = await serve([model.model, "--runs", model.runs, "--windows"]);
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});
