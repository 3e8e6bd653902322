// OpenAI's package for Node.

import { readFileSync } from "node:fs";
import OpenAI from "openai";

const { version } = JSON.parse(readFileSync("node_modules/openai/package.json", "utf-8"));
const url = process.env.FACADE_URL;
const texts = ["A man is playing a guitar.", "Someone plays an instrument.", "기타를 치는 남자"];
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });

async function call(text, act) {
  let error = null;
  try {
    await act();
  } catch (failure) {
    error = `${failure.name}: ${failure.message}`;
  }
  console.log(JSON.stringify({ client: "openai (Node)", version, call: text, error }));
}

async function expected() {
  const body = JSON.stringify({ sentences: texts });
  const answer = await fetch(`${url}/embed`, { method: "POST", headers: { "content-type": "application/json" }, body });
  return (await answer.json()).embeddings;
}

await call('`client.embeddings.create({ model: "sts", input: [...] })`', async () => {
  const [found, wanted] = [await client.embeddings.create({ model: "sts", input: texts }), await expected()];
  if (found.data.length !== texts.length) throw new Error(`${found.data.length} embeddings`);
  found.data.forEach(({ embedding }, row) => {
    const worst = Math.max(...wanted[row].map((value, column) => Math.abs(value - embedding[column])));
    if (!(embedding.length === wanted[row].length && worst < 1e-3)) throw new Error(`off by ${worst}`);
  });
});

await call("errors: `NotFoundError` for a model", async () => {
  try {
    await client.embeddings.create({ model: "none", input: "a" });
  } catch (error) {
    if (error instanceof OpenAI.NotFoundError) return;
    throw error;
  }
  throw new Error("no error");
});
