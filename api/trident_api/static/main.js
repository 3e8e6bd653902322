// The page: tabs, language, key, and one form a task.

import { get, last } from "./api.js";
import { commands } from "./commands.js";
import { make } from "./dom.js";
import { speak, spoken, toggle, word } from "./i18n.js";
import { watch } from "./live.js";
import * as tasks from "./tasks.js";

const STATE_EVERY = 5000;
// Until the facade has listed the models; a test holds them to the contract.
const THRESHOLDS = { cola: 0.5, sts: 0.6 };
const tabs = [...document.querySelectorAll("[role=tab]")];
const HANGUL = /\p{Script=Hangul}/u;
let models = [];
let state = "away";

function select(tab, focus = true) {
  for (const each of tabs) {
    const chosen = each === tab;
    each.setAttribute("aria-selected", String(chosen));
    each.tabIndex = chosen ? 0 : -1;
    document.getElementById(each.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (focus) tab.focus();
}

function moveBetweenTabs(event) {
  const shown = tabs.filter((tab) => !tab.hidden);
  const place = shown.indexOf(event.target);
  const next = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: shown.length - 1 }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  select(shown[(next + shown.length) % shown.length]);
}

async function submit(event) {
  event.preventDefault();
  const form = event.target;
  const section = form.closest("section");
  const answer = section.querySelector(".answer");
  const button = form.querySelector(".go");
  const list = form.querySelector("select");
  const model = list.value;
  const { threshold, languages } = models.find((each) => each.name === model) ?? {};
  const text = [...form.querySelectorAll("textarea, input")].map((each) => each.value).join("\n");
  button.disabled = true;
  answer.setAttribute("aria-busy", "true");
  if (!answer.hasChildNodes()) answer.replaceChildren(make("p", { class: "note" }, word("working")));
  const before = last;
  try {
    answer.replaceChildren(...(await tasks[section.id](form, model, threshold ?? THRESHOLDS[list.dataset.task])));
    if (languages?.length && !languages.includes("ko") && HANGUL.test(text)) answer.prepend(make("p", { class: "note" }, word("notKorean")));
  } catch (error) {
    answer.replaceChildren(make("p", { class: "error", role: "alert" }, error.message));
  } finally {
    button.disabled = false;
    answer.removeAttribute("aria-busy");
    if (last !== before) section.querySelector(".request").replaceChildren(commands(last));
  }
}

async function listModels() {
  const response = await get("models");
  models = response?.ok ? (await response.json()).models : [];
  offerModels();
}

const speaks = (each) => !each.languages.length || each.languages.includes(spoken());

/** Show the tasks that have a model of the page's language, all where none has; say that there is none to judge. */
function offerTasks() {
  const has = (task) => models.some((each) => each.task === task && speaks(each));
  const task = (tab) => document.getElementById(tab.getAttribute("aria-controls")).querySelector("select.model").dataset.task;
  const known = tabs.filter((tab) => has(task(tab)));
  for (const tab of tabs) tab.hidden = known.length > 0 && !known.includes(tab);
  document.getElementById("unjudged").hidden = !document.getElementById("tab-acceptability").hidden;
  const chosen = tabs.find((tab) => tab.getAttribute("aria-selected") === "true");
  if (chosen.hidden) select(known[0], false);
}

/** Say what a list's chosen model is for, how good it is, how much it reads, and how fast. */
function describe(list) {
  const model = models.find((each) => each.name === list.value);
  const languages = new Intl.DisplayNames(spoken(), { type: "language" });
  const [measure, value] = Object.entries(model?.metrics ?? {})[0] ?? [];
  const { dtype, speed } = model?.export ?? {};
  const parts = [
    model?.languages.map((each) => languages.of(each)).join(", "),
    measure && `${measure[0].toUpperCase()}${measure.slice(1).replaceAll("_", " ")} ${value.toFixed(value > 1 ? 1 : 3)}`,
    model?.dimension && `${model.dimension} ${word("components")}`,
    model?.max_tokens && (model.task === "qa" ? word("windows") : word("longest")).replace("#", model.max_tokens),
    speed && `${dtype}, ${speed.tokens_per_second.toLocaleString(spoken())} ${word("tokensPerSecond")}`,
  ].filter(Boolean);
  list.closest("form").querySelector(".about").textContent = parts.length ? `${model.name}: ${parts.join("; ")}` : "";
}

/** Offer each task's models, first the one that knows the page's language. */
function offerModels() {
  offerTasks();
  for (const list of document.querySelectorAll("select.model")) {
    const served = models.filter((each) => each.task === list.dataset.task);
    const own = { name: list.dataset.task, languages: [] };
    const offered = served.length ? served : [own];
    const title = ({ name, languages }) => (languages.length ? `${name} (${languages.join(", ")})` : name);
    list.replaceChildren(...offered.map((each) => make("option", { value: each.name }, title(each))));
    const knows = (each) => each.languages.includes(spoken());
    const best = offered.find((each) => each.name === own.name && knows(each)) ?? offered.find(knows);
    list.value = (best ?? offered.find((each) => each.name === own.name) ?? offered[0]).name;
    list.hidden = offered.length < 2;
    describe(list);
  }
}

function showState() {
  document.getElementById("state").dataset.state = state;
  document.getElementById("state-text").textContent = word(state);
}

async function askState() {
  if (document.hidden) return;
  const response = await get("health/ready");
  const before = state;
  state = response === null ? "away" : response.ok ? "ready" : "loading";
  showState();
  if (state === "ready" && before !== "ready") listModels();
}

/** Ask again a while after the answer: a slow one does not come behind the next, and is not asked for twice. */
async function watchState() {
  await askState();
  setTimeout(watchState, STATE_EVERY);
}

for (const tab of tabs) {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", moveBetweenTabs);
}
for (const list of document.querySelectorAll("select.model")) list.addEventListener("change", () => describe(list));
for (const form of document.querySelectorAll("section form")) {
  form.addEventListener("submit", submit);
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
}
/** Return the text of what was dropped; throws an Error for the reader where it is not one file of text. */
async function textOf(files) {
  if (files.length > 1) throw new Error(word("oneFile"));
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await files[0].arrayBuffer());
  } catch {
    throw new Error(word("notText"));
  }
}

// A text file that is dropped on a field is its text.
for (const field of document.querySelectorAll("textarea")) {
  const holdsFile = ({ dataTransfer }) => dataTransfer.types.includes("Files");
  field.addEventListener("dragover", (event) => holdsFile(event) && event.preventDefault());
  field.addEventListener("drop", async (event) => {
    if (!holdsFile(event)) return;
    event.preventDefault();
    const answer = field.closest("section").querySelector(".answer");
    try {
      field.value = await textOf(event.dataTransfer.files);
      answer.querySelector(".error")?.remove();
    } catch (error) {
      answer.replaceChildren(make("p", { class: "error", role: "alert" }, error.message));
    }
  });
}
document.getElementById("language").addEventListener("click", () => {
  toggle();
  showState();
  offerModels();
});
document.getElementById("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", document.getElementById("key").value.trim());
  event.target.hidden = true;
  listModels();
});
const wanted = tabs.find((tab) => `#${tab.getAttribute("aria-controls")}` === location.hash);
if (wanted) select(wanted, false);
speak();
showState();
watchState();
watch();
