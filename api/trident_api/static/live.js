// Throughput and latency, from the counters that Prometheus reads.

import { get, shown } from "./api.js";

const EVERY = 2000;
const SAMPLES = 60;
// The differences of this many samples make the figures, so that they do not flicker.
const WINDOW = 5;
const TASKS = /route="\/(generate|acceptability|similarity|embed|qa|pred\/[^"]*|predict[^"]*|rerank|v[12]\/rerank|v1\/embeddings)"/;

const samples = [];
const rates = [];

function read(text) {
  const sample = { time: performance.now() / 1000, count: 0, buckets: new Map(), running: 0, waiting: 0 };
  for (const line of text.split("\n")) {
    const value = Number(line.slice(line.lastIndexOf(" ") + 1));
    if (line.startsWith("trident_queue_running ")) sample.running = value;
    if (line.startsWith("trident_queue_waiting ")) sample.waiting = value;
    if (!TASKS.test(line)) continue;
    if (line.startsWith("trident_http_request_seconds_count")) sample.count += value;
    const edge = /^trident_http_request_seconds_bucket\{le="([^"]+)"/.exec(line);
    if (edge) {
      const seconds = edge[1] === "+Inf" ? Infinity : Number(edge[1]);
      sample.buckets.set(seconds, (sample.buckets.get(seconds) || 0) + value);
    }
  }
  return sample;
}

/** Return the seconds within which a share of the requests between two samples was answered. */
function quantile(share, first, last) {
  const wanted = share * (last.count - first.count);
  let below = 0;
  let edge = 0;
  for (const [seconds, count] of [...last.buckets].sort(([a], [b]) => a - b)) {
    const here = count - (first.buckets.get(seconds) || 0);
    if (here >= wanted) return seconds === Infinity ? edge : edge + (seconds - edge) * ((wanted - below) / Math.max(1, here - below));
    [below, edge] = [here, seconds];
  }
  return edge;
}

function show() {
  const last = samples.at(-1);
  const first = samples.at(-1 - Math.min(WINDOW, samples.length - 1));
  const put = (id, text) => (document.getElementById(id).textContent = text);
  put("flight", `${last.running}, ${last.waiting}`);
  const count = last.count - first.count;
  if (last !== first) put("rate", (count / (last.time - first.time)).toFixed(1));
  put("median", count > 0 ? shown(quantile(0.5, first, last)) : "–");
  put("p99", count > 0 ? shown(quantile(0.99, first, last)) : "–");
  const most = Math.max(1, ...rates);
  const points = rates.map((rate, index) => `${((SAMPLES - rates.length + index) * 120) / (SAMPLES - 1)},${35 - (rate / most) * 33}`);
  document.querySelector("#chart polyline").setAttribute("points", points.join(" "));
}

async function sample() {
  if (document.hidden) return;
  const response = await get("metrics");
  // A server that goes away may do so in the middle of its answer.
  const text = response?.ok ? await response.text().catch(() => "") : "";
  if (!text) return;
  const next = read(text);
  const before = samples.at(-1);
  // A server that was started anew counts from nothing.
  if (before && next.count < before.count) samples.length = 0;
  else if (before) rates.push((next.count - before.count) / (next.time - before.time));
  samples.push(next);
  if (samples.length > SAMPLES) samples.shift();
  if (rates.length > SAMPLES) rates.shift();
  show();
}

/** Ask again a while after the answer: a slow server is asked no more than once at a time, and answers stay in order. */
export async function watch() {
  await sample();
  setTimeout(watch, EVERY);
}
