/** What the worker of the page does: a tokenizer, a small LLaMA and a training run on a text, told step by step, with a sample
 *  of what the model would write now and then. Nothing here knows of a page: under Node it gives the same losses. */
import { type Llama, llama, llamaConfig, loss, generateText, parameterCount, trainBpe } from "@sinan/llm";
import { type Task, train } from "@sinan/train";
import type { Settings, Told } from "./messages.ts";
import { currentDevice, data, jit, key, optim, random, type Tensor, tensor } from "sinan";

const [batch, sequence] = [8, 64];
const prompt = "The whale";

/** Trains, and tells of it. */
export async function* learn({ text, steps, sampleEvery }: Settings, signal?: AbortSignal): AsyncGenerator<Told, void> {
  const { id, threads = 1 } = await currentDevice();
  const tokenizer = trainBpe(text, { vocabSize: 512 });
  const ids = tokenizer.encode(text);
  const { train: own, heldOut } = data.splitTokens(ids, { heldOut: 0.05 });
  const config = llamaConfig("llama-tiny", {
    vocabSize: tokenizer.vocabSize,
    hiddenSize: 96,
    intermediateSize: 256,
    numAttentionHeads: 6,
    numKeyValueHeads: 6,
    headDim: 16,
    numHiddenLayers: 3,
    maxPositionEmbeddings: 256,
  });
  yield {
    event: "start",
    device: id,
    threads,
    parameters: parameterCount(config),
    tokens: own.length,
    vocabulary: tokenizer.vocabSize,
  };

  const shape = [batch, sequence];
  const batches = data.tokenBatches(own, { batch, sequence, seed: 0 });
  const unseen = data.tokenBatches(heldOut, { batch, sequence, seed: 0 });
  const batchOf = ({ inputs, targets }: data.Batch): { inputs: Tensor; targets: Tensor } => ({
    inputs: tensor(inputs, { shape }),
    targets: tensor(targets, { shape }),
  });
  const measure = jit((model: Llama, inputs: Tensor, targets: Tensor) => loss(model, inputs, targets));
  let sampled = { seed: 0, text: "" };
  const task: Task<Llama, optim.AdamWState<Llama>, ReturnType<typeof batchOf>> = {
    model: llama(config).init(random.fold(key(0), 1)),
    optimizer: optim.adamW({ betas: [0.9, 0.98], weightDecay: 0.1 }),
    loss: (model, { inputs, targets }, context) => loss(model, inputs, targets, context),
    batch: (step) => batchOf(batches.at(step)),
    rate: optim.cosine({ peak: 6e-3, warmupSteps: Math.ceil(steps / 20), steps }),
    tokensPerStep: batch * sequence,
    async evaluate(model: Llama) {
      sampled = { seed: sampled.seed + 1, text: prompt };
      const options = { maxTokens: 60, temperature: 0.7, seed: sampled.seed };
      for await (const piece of generateText(model, tokenizer, prompt, options)) sampled.text += piece;
      const { inputs, targets } = batchOf(unseen.at(0));
      return { loss: await measure(model, inputs, targets).item() };
    },
  };
  const going = train(task, { steps, seed: 0, evaluateEvery: sampleEvery, signal });
  for (;;) {
    const next = await going.next();
    if (next.done) return yield { event: "done", step: next.value.step, stopped: next.value.stopped };
    const told = next.value;
    if (told.event === "step")
      yield { event: "step", step: told.step, loss: told.loss, tokensPerSecond: told.tokensPerSecond };
    else if (told.event === "eval") yield { event: "sample", step: told.step, heldOut: told.loss, text: sampled.text };
  }
}
