// Elements are made of text, never of markup: what people type is shown, not run.

/** Return an element with attributes and children. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Return a bar as long as a value between 0 and 1. */
export function bar(value, label, kind = "") {
  const element = make(
    "div",
    { class: `bar ${kind}`, role: "meter", "aria-valuemin": 0, "aria-valuemax": 1, "aria-valuenow": value.toFixed(3), "aria-label": label },
    make("span"),
  );
  element.style.setProperty("--value", Math.max(0, Math.min(1, value)));
  return element;
}

/** Return the lines of a text that hold something. */
export const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);
