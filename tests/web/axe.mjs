// Checks of accessibility by axe-core, in both themes, on a desktop and on a phone.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const source = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const WIDTHS = [1280, 390];
const THEMES = ["light", "dark"];

/// Waits until transitions to the colours of another theme have ended. A browser that does not draw would never say so.
const settled = (tab) =>
  tab.evaluate(async () => {
    const ended = async () => {
      await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
      await Promise.allSettled(document.getAnimations().filter((one) => one instanceof CSSTransition).map((one) => one.finished));
    };
    await Promise.race([ended(), new Promise((late) => setTimeout(late, 5000))]);
  });

/// What axe finds in the page as it is: the rule, and the elements.
const found = (tab) =>
  tab.evaluate(async () => {
    // In high contrast the system chooses the colours.
    const isForced = matchMedia("(forced-colors: active)").matches;
    const { violations } = await axe.run(document, { resultTypes: ["violations"], rules: { "color-contrast": { enabled: !isForced } } });
    return violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 5).map(({ target, any }) => `${target.join(" ")} ${any[0]?.message ?? ""}`).join("; ")}`);
  });

/// Fails if axe finds anything in the state `name` of a page, and leaves the page as it was.
export const accessible = async (tab, name) => {
  const size = tab.viewportSize();
  const theme = await tab.evaluate(() => (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  await tab.evaluate(source);
  const problems = [];
  for (const colorScheme of THEMES) {
    await tab.emulateMedia({ colorScheme });
    for (const width of WIDTHS) {
      await tab.setViewportSize({ width, height: size.height });
      await settled(tab);
      problems.push(...(await found(tab)).map((problem) => `${name}, ${colorScheme}, ${width} px: ${problem}`));
    }
  }
  await tab.emulateMedia({ colorScheme: theme });
  await tab.setViewportSize(size);
  await settled(tab);
  assert.deepEqual(problems, []);
};
