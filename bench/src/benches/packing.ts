/** Training on documents of skewed length, f32, AdamW: packed several to a row with masks between them, and padded one to a row. What
 *  counts is tokens that are learned from, padding is none. The losses of both are the same (north/llm/src/model/packing.test.ts). */
import { data, jit, key, optim, type Tensor, tensor, valueAndGrad } from "sinan";
import { llama, type Llama, llamaConfig, loss } from "@sinan/llm";
import type { Figure } from "../figure.ts";
import type { Cases } from "../main.ts";
import { median } from "../measure.ts";
import { openCpu } from "../processor.ts";

const [sequence, batch, count] = [256, 8, 4096] as const;
const config = { ...llamaConfig("llama-bench"), numHiddenLayers: 6 };

/** Lengths that are log-normal with a median of 48 and a deviation of e: half are shorter than 48, one in twenty is longer than a row. */
function documents(): Int32Array[] {
  const uniform = (i: number): number => (data.permute(2 ** 20, 9, i) + 0.5) / 2 ** 20;
  return Array.from({ length: count }, (_, d) => {
    const normal = Math.sqrt(-2 * Math.log(uniform(2 * d))) * Math.cos(2 * Math.PI * uniform(2 * d + 1));
    const length = Math.min(sequence + 1, Math.max(2, Math.round(48 * Math.exp(normal))));
    return Int32Array.from({ length }, (_, t) => ((t + d) * 7919) % config.vocabSize);
  });
}

/** One document a row, in an order of its own. */
function paddedBatch(all: readonly Int32Array[], step: number): data.PackedBatch {
  const rows = Array.from({ length: batch }, (_, row) => {
    const document = data.permute(count, 1, (step * batch + row) % count);
    return [{ document, from: 0, length: (all[document]?.length ?? 1) - 1 }];
  });
  return data.fillPacked(rows, sequence, ({ document }) => all[document] ?? []);
}

export const cases: Cases = async function* ({ threads, seconds }): AsyncGenerator<Figure> {
  const device = await openCpu(threads);
  const all = documents();
  const packed = data.packedBatches(all, { batch, sequence, seed: 0 });
  const figure = { bench: "packing", device, threads } as const;
  const runs = [stepsOf(packed.at, true), stepsOf((step) => paddedBatch(all, step), false)] as const;
  // In turn, so that what else the machine does is shared; the first of each compile.
  const end = performance.now() + seconds * 1000;
  for (let i = 0; i < 7 || performance.now() < end; i++) for (const run of runs) await run.step();
  const [one, other] = runs.map(rateOf) as [number, number];
  const filled = `${(100 * packed.packing.filled).toFixed(1)} % of the places are taken`;
  yield { ...figure, case: "packed", value: one, unit: "tokens/s", note: filled };
  yield { ...figure, case: "padded", value: other, unit: "tokens/s" };
  yield { ...figure, case: "ratio", value: one / other, unit: "x" };
};

interface Steps {
  step(): Promise<void>;
  readonly seconds: number[];
  readonly tokens: number[];
}

/** Steps take the same time, whatever they hold. */
function rateOf({ seconds, tokens }: Steps): number {
  const [, ...taken] = seconds;
  return tokens.reduce((a, b) => a + b, 0) / tokens.length / median(taken);
}

function stepsOf(at: (step: number) => data.PackedBatch, masks: boolean): Steps {
  const adam = optim.adamW({ learningRate: 3e-4 });
  const run = jit(
    ({ state, ids, segments, targets, weights }: Input & { state: optim.AdamWState<Llama> }) => {
      const [value, grads] = valueAndGrad((model: Llama) =>
        loss(model, { ids, segments }, targets, undefined, { weights }),
      )(state.model);
      return { value, state: adam.update(state, grads) };
    },
    { donate: ["state"] },
  );
  let state = adam.init(llama(config).init(key(0)));
  const [seconds, tokens]: [number[], number[]] = [[], []];
  const step = async (): Promise<void> => {
    const { inputs, segments, targets, weights } = at(seconds.length);
    const of = (values: Int32Array | Float32Array): Tensor => tensor(values, { shape: [batch, sequence] });
    const start = performance.now();
    const out = run({
      state,
      ids: of(inputs),
      segments: masks ? of(segments) : undefined,
      targets: of(targets),
      weights: of(weights),
    });
    ({ state } = out);
    await out.value.item();
    seconds.push((performance.now() - start) / 1000);
    tokens.push(weights.reduce((sum, weight) => sum + weight, 0));
  };
  return { step, seconds, tokens };
}

interface Input {
  readonly ids: Tensor;
  readonly segments: Tensor | undefined;
  readonly targets: Tensor;
  readonly weights: Tensor;
}
