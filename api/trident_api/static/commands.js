// The request that was made, as commands to copy.

import { make } from "./dom.js";
import { word } from "./i18n.js";

const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(url, body, keyed) {
  const parts = [`curl -s ${quote(url)}`, "-H 'content-type: application/json'"];
  if (keyed) parts.push('-H "authorization: Bearer $TRIDENT_KEY"');
  return [...parts, `-d ${quote(JSON.stringify(body))}`].join(" \\\n  ");
}

// What JSON calls a text, a number, a list or an object, Python calls the same.
function python(url, body, keyed) {
  const key = keyed ? ', headers={"authorization": f"Bearer {os.environ[\'TRIDENT_KEY\']}"}' : "";
  return `${keyed ? "import os\n\n" : ""}import requests\n\nanswer = requests.post(${JSON.stringify(url)}, json=${JSON.stringify(body)}${key}, timeout=60)\nprint(answer.json())`;
}

function command(name, text) {
  const copy = make("button", { type: "button", "aria-label": `${word("copy")}: ${name}` }, word("copy"));
  // Browsers give pages the clipboard only over https or on the same machine.
  copy.hidden = !navigator.clipboard;
  copy.addEventListener("click", () => navigator.clipboard.writeText(text));
  return [make("h3", {}, `${name} `, copy), make("pre", { tabindex: 0 }, text)];
}

/** Return the request, folded, for a shell and for Python; a key is named and not shown. */
export function commands({ path, body, keyed }) {
  const url = new URL(path, document.baseURI).href;
  return make("details", { class: "commands" }, make("summary", {}, word("asCommand")), ...command("curl", curl(url, body, keyed)), ...command("Python", python(url, body, keyed)));
}
