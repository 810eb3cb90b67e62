"use strict";

// Tables are sorted by a click on a heading. The value of a cell is its data-v where it has one; cells without a number stay last.
const order = (cell) => {
  const text = cell?.dataset.v ?? cell?.textContent.trim() ?? "";
  return { text, number: text === "" ? NaN : Number(text) };
};
const sortBy = (table, at, down) => {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, key: order(row.cells[at]) }));
  const numeric = rows.some(({ key }) => !Number.isNaN(key.number));
  const compare = (a, b) => {
    if (!numeric) return (down ? -1 : 1) * a.key.text.localeCompare(b.key.text, "en", { numeric: true });
    const [left, right] = [a.key.number, b.key.number];
    if (Number.isNaN(left) || Number.isNaN(right)) return Number.isNaN(left) - Number.isNaN(right);
    return down ? right - left : left - right;
  };
  body.append(...rows.sort(compare).map(({ row }) => row));
  [...table.tHead.rows[0].cells].forEach((head, n) => {
    if (n === at) head.setAttribute("aria-sort", down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
};
for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    // Numbers begin with the largest.
    const first = head.classList.contains("n");
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      sortBy(table, at, now === null ? first : now === "ascending");
    });
    head.append(button);
  });
}

// Panels of a group become tabs. Without this script they stand one below the other.
document.querySelectorAll(".panels").forEach((group) => {
  const panels = [...group.querySelectorAll(":scope > .panel")];
  if (panels.length < 2) return;
  const list = document.createElement("div");
  list.className = "tabs";
  list.setAttribute("role", "tablist");
  list.setAttribute("aria-label", group.dataset.label);
  const tabs = panels.map((panel, n) => {
    const tab = document.createElement("button");
    tab.type = "button";
    tab.id = `tab-${panel.id}`;
    tab.textContent = panel.dataset.name;
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", panel.id);
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", tab.id);
    tab.addEventListener("click", () => choose(n));
    tab.addEventListener("keydown", ({ key }) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
      if (step) choose((n + step + panels.length) % panels.length).focus();
    });
    return tab;
  });
  const choose = (chosen) => {
    panels.forEach((panel, n) => (panel.hidden = n !== chosen));
    tabs.forEach((tab, n) => {
      tab.setAttribute("aria-selected", String(n === chosen));
      tab.tabIndex = n === chosen ? 0 : -1;
    });
    return tabs[chosen];
  };
  list.append(...tabs);
  group.prepend(list);
  // A link to a panel, or into it, opens it.
  const open = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const at = target ? panels.findIndex((panel) => panel.contains(target)) : -1;
    if (at >= 0) {
      choose(at);
      target.scrollIntoView();
    }
  };
  choose(0);
  open();
  addEventListener("hashchange", open);
});

// What is wider than the window can be scrolled with the keyboard. Tables have buttons in their headings.
const boxes = document.querySelectorAll("figure, pre");
const makeFocusable = () => boxes.forEach((box) => {
  if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  else box.removeAttribute("tabindex");
});
makeFocusable();
addEventListener("resize", makeFocusable);
document.addEventListener("toggle", makeFocusable, true);
document.addEventListener("click", makeFocusable);

// On paper nothing is opened by a click, and headings are no buttons: Chromium would not repeat them on each page of a table.
let [opened, headings] = [[], []];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((details) => (details.open = true));
  headings = [...document.querySelectorAll("th button")].map((button) => ({ button, head: button.parentElement }));
  headings.forEach(({ button, head }) => head.replaceChildren(...button.childNodes));
});
addEventListener("afterprint", () => {
  opened.splice(0).forEach((details) => (details.open = false));
  headings.splice(0).forEach(({ button, head }) => {
    button.append(...head.childNodes);
    head.append(button);
  });
});

// A click on a point of a map plays its recording, where the page has it.
for (const figure of document.querySelectorAll("figure:has(.point)")) {
  const points = [...figure.querySelectorAll(".point:has(title)")];
  let playable = 0;
  for (const item of document.querySelectorAll(".clips li:has(audio)")) {
    const start = `${item.querySelector(".path:last-child").textContent}: `;
    for (const point of points.filter((point) => point.querySelector("title").textContent.startsWith(start))) {
      point.classList.add("playable");
      point.addEventListener("click", () => item.querySelector("audio").play());
      playable += 1;
    }
  }
  if (playable) figure.querySelector("figcaption").append(" A click on a ringed point plays the recording.");
}

// One player at a time.
document.addEventListener("play", ({ target }) => {
  document.querySelectorAll("audio").forEach((audio) => audio !== target && audio.pause());
}, true);
