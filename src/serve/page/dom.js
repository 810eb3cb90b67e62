// Creates elements without templates: text is always text, never markup.

/// `make("p", { class: "hint" }, "some", child)`. Skips attributes that are null or false; adds `on…` as listeners.
export const make = (kind, attributes = {}, ...children) => {
  const element = document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
};

export const shape = (kind, attributes, ...children) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

export const at = (id) => document.getElementById(id);
