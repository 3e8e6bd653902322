// What each task asks of the facade, and how its answer is shown. Each returns the elements of the answer.

import { post } from "./api.js";
import { bar, lines, make } from "./dom.js";
import { word } from "./i18n.js";

const MOST_SHOWN = 40;
const ANSWERS = 5;

/** Return a field's text; throws an Error for the reader where nothing in it can be seen. */
function filled(field) {
  if (!field.value.trim()) {
    field.focus();
    throw new Error(word("blank"));
  }
  return field.value;
}

const withNote = (truncated, ...elements) => (truncated ? [make("p", { class: "note" }, word("truncated")), ...elements] : elements);

/** One gauge a sentence. */
export async function acceptability(form, model, threshold) {
  const sentences = lines(filled(form.querySelector("textarea")));
  const { content, truncated } = await post("acceptability", { sentences, model });
  const rows = sentences.map((sentence, index) => {
    const value = content.probs[index];
    const accepted = value >= threshold;
    return make(
      "li",
      {},
      make("p", { class: "sentence" }, sentence),
      make("div", { class: "gauge" }, bar(value, sentence, accepted ? "good" : "bad"), make("output", {}, `${(100 * value).toFixed(1)} %`)),
      make("p", { class: "note" }, word(accepted ? "acceptable" : "unacceptable")),
    );
  });
  return withNote(truncated, make("ol", { class: "gauges" }, ...rows));
}

/** A heat map of all pairs. */
export async function similarity(form, model, threshold) {
  const sentences = lines(filled(form.querySelector("textarea")));
  if (sentences.length < 2) throw new Error(word("atLeastTwo"));
  if (sentences.length > MOST_SHOWN) throw new Error(word("tooMany"));
  const { content, truncated } = await post("embed", { sentences, model });
  const vectors = content.embeddings;
  const cosine = (a, b) => a.reduce((sum, value, index) => sum + value * b[index], 0);
  const head = make("tr", {}, make("td"), ...sentences.map((each, index) => make("th", { scope: "col", title: each }, String(index + 1))));
  const rows = sentences.map((sentence, row) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, make("span", { class: "number" }, String(row + 1)), ` ${sentence}`),
      ...sentences.map((other, column) => heat(cosine(vectors[row], vectors[column]), threshold, `${sentence} / ${other}`)),
    ),
  );
  const table = make("table", { class: "heat" }, make("caption", {}, `${word("heatmap")}. ${word("similar")} ${threshold.toFixed(2)}`), make("thead", {}, head), make("tbody", {}, ...rows));
  return withNote(truncated, make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": word("heatmap") }, table));
}

function heat(value, threshold, title) {
  const strength = Math.max(0, Math.min(1, value));
  const kind = `${value >= threshold ? "similar" : ""} ${strength > 0.72 ? "strong" : ""}`;
  const cell = make("td", { class: kind, title }, value.toFixed(2).replace("-0.00", "0.00"));
  cell.style.setProperty("--value", strength);
  return cell;
}

/** The passage with the chosen answer marked, and all answers to choose from. */
export async function question(form, model) {
  const context = filled(form.querySelector("textarea"));
  const request = { question: filled(form.querySelector("input")), context, top_k: ANSWERS, model };
  const { content, truncated } = await post("qa", request);
  // The offsets count characters; a string here counts halves of some of them.
  const characters = Array.from(context);
  const passage = make("p", { class: "passage", "aria-label": word("passage"), tabindex: 0 });
  // A reader that was taught to may say that there is no answer, by an empty one.
  const title = (span) => span.answer || word("noAnswer");
  const choices = content.map((span, index) => {
    const button = make(
      "button",
      { type: "button", "aria-pressed": "false" },
      make("span", { class: "sentence" }, title(span)),
      make("span", { class: "gauge" }, bar(span.score, title(span)), make("output", {}, `${(100 * span.score).toFixed(1)} %`)),
    );
    button.addEventListener("click", () => choose(index));
    return make("li", {}, button);
  });
  function choose(index) {
    const { start, end } = content[index];
    const text = (from, to) => characters.slice(from, to).join("");
    passage.replaceChildren(text(0, start), ...(end > start ? [make("mark", {}, text(start, end))] : []), text(end));
    choices.forEach((each, place) => each.firstChild.setAttribute("aria-pressed", String(place === index)));
  }
  choose(0);
  return withNote(truncated, passage, make("h3", {}, word("runnersUp")), make("ol", { class: "answers" }, ...choices));
}

/** The texts, the best first. */
export async function ranking(form, model) {
  const texts = lines(filled(form.querySelector("textarea")));
  const { content, truncated } = await post("rerank", { query: filled(form.querySelector("input")), texts, model });
  const rows = content.map(({ index, score }) =>
    make(
      "li",
      {},
      make("p", { class: "sentence" }, texts[index]),
      make("div", { class: "gauge" }, bar(score, texts[index]), make("output", {}, `${(100 * score).toFixed(1)} %`)),
    ),
  );
  return withNote(truncated, make("ol", { class: "gauges", "aria-label": word("ranked") }, ...rows));
}
