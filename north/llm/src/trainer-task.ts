/** A prepared call as a task of `@sinan/train`: model, optimizer, batches, schedule, evaluation, and the facts by which a checkpoint
 *  is known to be of the same run. */
import { data as batches, type Json, key, random, sum, tensor, type Tensor } from "sinan";
import type { StepContext, Task, TrainOptions, TrainState, WeighedLoss } from "@sinan/train";
import { llamaConfigToJson } from "./config.ts";
import { type Llama, llama } from "./model/llama.ts";
import { loss } from "./model/loss.ts";
import { heldOutLoss } from "./trainer-corpus.ts";
import type { TrainCall } from "./trainer-events.ts";
import { optimizerOf, scheduleOf } from "./trainer-learning.ts";
import { record } from "./trainer-options.ts";
import type { Prepared } from "./trainer-prepare.ts";

export interface Batch {
  readonly inputs: Tensor;
  readonly targets: Tensor;
  /** Which document of its row each token is of, where documents are packed. */
  readonly segments?: Tensor;
}

export type LlamaTask = Task<Llama, TrainState<Llama>, Batch>;

/** The task and the options of its run.
 *  @param own  the model that the Trainer has, which goes on unless a checkpoint does */
export function taskOf(
  { settings, corpus, checkpoint, dataHash, dataPath, stream }: Prepared,
  call: TrainCall,
  own: Llama | null,
): { readonly task: LlamaTask; readonly options: TrainOptions<Llama> } {
  const { seqLen, batchSize, seed, steps } = settings;
  const { tokenizer } = corpus;
  const config = own && !checkpoint ? own.config : { ...settings.model, vocabSize: tokenizer.vocabSize };
  // The keys of the steps are the folds of 0, 1, 2 …
  const model = own && !checkpoint ? own : llama(config).init(random.fold(key(seed), 2 ** 32 - 1));
  const order = { batch: batchSize, sequence: seqLen, seed };
  const streamed = stream?.source(order);
  const source = streamed ?? batches.tokenBatches(corpus.trainIds, order);
  const rate = scheduleOf(settings.schedule, settings);
  const shape = [batchSize, seqLen];
  const task: LlamaTask = {
    model,
    optimizer: optimizerOf(settings.optimizer, settings),
    loss: (m, { inputs, targets, segments }, context) =>
      segments ? packedLoss(m, inputs, targets, segments, context) : loss(m, inputs, targets, context),
    async batch(n) {
      const { inputs, targets, segments } = (await source.at(n)) as Partial<batches.PackedBatch> & batches.Batch;
      return {
        inputs: tensor(inputs, { shape }),
        targets: tensor(targets, { shape }),
        ...(segments && { segments: tensor(segments, { shape }) }),
      };
    },
    ids: (n) => (streamed ? (streamed.ids?.(n) ?? []) : windowsOf(corpus.trainIds.length, order, n)),
    rate: (step) => rate(step + 1),
    tokensPerStep: batchSize * seqLen,
    evaluate: heldOutLoss(corpus, seqLen, batchSize),
  };
  const shapeOfModel = llamaConfigToJson(config) as Json;
  const facts = { data: dataHash, "held-out share": settings.heldOut, model: shapeOfModel, "batch shape": shape };
  const options = {
    steps,
    seed,
    clipNorm: settings.clipNorm,
    accumulate: settings.accumulate,
    precision: settings.precision,
    ema: settings.ema,
    earlyStop: settings.earlyStop,
    onNonFinite: settings.onNonFinite,
    onSpike: settings.onSpike,
    evaluateEvery: call.evaluateEvery ?? Math.max(50, Math.ceil(steps / 5)),
    checkpointEvery: call.checkpointEvery ?? 100,
    resume: checkpoint ?? undefined,
    facts,
    options: { ...record(settings), ...(dataPath === null ? {} : { data: dataPath }) },
    documents: { config: shapeOfModel },
    blobs: { "tokenizer.json": JSON.stringify(tokenizer) },
    onWarning: call.onWarning ?? console.warn,
  };
  return { task, options };
}

/** Where the windows of a batch begin, in words. */
const windowsOf = (length: number, order: batches.BatchOptions & { readonly seed: number }, n: number): string[] =>
  batches
    .tokenWindows(length, order)
    .starts(n)
    .map((start) => `token ${start}`);

/** The loss of packed documents: padding has no target, and batches hold different numbers of them. */
function packedLoss(model: Llama, ids: Tensor, targets: Tensor, segments: Tensor, ctx: StepContext): WeighedLoss {
  const weights = targets.notEqual(batches.ignoreIndex).cast("f32");
  return { total: loss(model, { ids, segments }, targets, ctx, { weights, reduction: "sum" }), weight: sum(weights) };
}
