import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { openTab, startBrowser } from "./browser.mjs";

let browser;
before(async () => (browser = await startBrowser()));
after(() => browser.close());

test("errors of the page and its console are collected", async () => {
  const tab = await openTab(browser, "data:text/html,<script>console.error('oh');nothing()</script>");
  await tab.waitForTimeout(100);
  assert.equal(tab.complaints.length, 2);
  assert.match(tab.complaints.join(), /oh.*nothing is not defined/);
});
