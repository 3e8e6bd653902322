// Requests to the facade, with the key if it wants one.

import { word } from "./i18n.js";

const shown = (seconds) => (seconds < 1 ? `${(seconds * 1000).toFixed(seconds < 0.1 ? 1 : 0)} ${word("ms")}` : `${seconds.toFixed(2)} ${word("s")}`);

function headers() {
  const key = sessionStorage.getItem("key");
  return key ? { authorization: `Bearer ${key}` } : {};
}

/** Show or hide the field for the key. */
function wantKey(status) {
  if (status === 401) document.getElementById("key-form").hidden = false;
}

/** Return a response, or null where the server cannot be reached. */
export async function get(path) {
  try {
    const response = await fetch(path, { headers: headers() });
    wantKey(response.status);
    return response;
  } catch {
    return null;
  }
}

// What a status means to who reads the page; the server's own words where they name what to change.
const REASONS = {
  401: () => word("keyNeeded"),
  413: () => word("tooLong"),
  429: () => word("busy"),
  502: () => word("broken"),
  503: () => word("notNow"),
  504: () => word("tooSlow"),
};

/** The last request that was made. */
export let last = null;

/** Return what an endpoint answers; throws an Error whose message is for the reader. */
export async function post(path, body) {
  last = { path, body, keyed: "authorization" in headers() };
  const started = performance.now();
  let response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers() },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error(word("failed"));
  }
  // A proxy in between answers in its own way.
  const content = await response.json().catch(() => ({}));
  const part = (name) => (response.headers.has(name) ? shown(response.headers.get(name) / 1000) : "–");
  document.getElementById("last-total").textContent = shown((performance.now() - started) / 1000);
  document.getElementById("last-queue").textContent = part("x-queue-time");
  document.getElementById("last-inference").textContent = part("x-inference-time");
  wantKey(response.status);
  if (!response.ok) throw new Error(REASONS[response.status]?.() ?? content.detail ?? word("broken"));
  return { content, truncated: response.headers.get("x-truncated") === "true" };
}

export { shown };
