/** Symbolic dims: one trace for all sizes that they allow, the same values as one trace for each, typed errors for the others. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  device,
  grad,
  jit,
  key,
  matmul,
  nn,
  random,
  region,
  scan,
  ShapeError,
  softmax,
  symbol,
  symbolic,
  type Tensor,
  tensor,
  vmap,
  zeros,
} from "sinan";
import { onCompile } from "../core/src/compiler/cache.ts";
import { onTrace } from "../core/src/tensor/trace.ts";
import { llamaConfig } from "../north/llm/src/config.ts";
import { Session } from "../north/llm/src/generate/session.ts";
import { type Llama, llama } from "../north/llm/src/model/llama.ts";
import { onEachDevice } from "./devices.ts";

const near = async (actual: Tensor, expected: Tensor): Promise<void> => {
  assert.deepEqual(actual.shape, expected.shape);
  const [a, e] = [await actual.data(), await expected.data()];
  a.forEach((v: number | bigint, i: number) =>
    assert.ok(Math.abs(Number(v) - Number(e[i])) <= 1e-5 * (1 + Math.abs(Number(e[i]))), `${v} is not ${e[i]}`),
  );
};

const layer = region((w: Tensor, x: Tensor) => nn.gelu(matmul(x, w)).add(x));

/** Reductions, softmax, a region, a mean, concatenated and sliced parts, over a batch and a time of any size. */
function network(w: Tensor, x: Tensor): Tensor {
  const h = layer(w, layer(w, x));
  const scores = softmax(matmul(h, h.transpose([0, 2, 1])), -1);
  const mixed = matmul(scores, h);
  const centred = mixed.sub(mixed.mean([0, 1], { keepDims: true }));
  return vmap((row: Tensor) => row.mul(row).sum())(centred).mean();
}

onEachDevice("one trace serves all sizes, values and gradients", async () => {
  const w = random.normal(key(1), [4, 4]).mul(0.5);
  const [batch, time] = [symbol("batch", { hi: 8 }), symbol("time", { lo: 2, hi: 64 })];
  let traces = 0;
  const stop = onTrace((name) => (traces += name === "network" ? 1 : 0));
  const step = jit(
    function network_(p: { w: Tensor; x: Tensor }) {
      return [network(p.w, p.x), grad((u: Tensor) => network(u, p.x))(p.w)] as const;
    },
    { name: "network", symbols: symbolic({ x: [batch, time, null] }) },
  );
  for (const [b, t] of [
    [1, 2],
    [3, 7],
    [2, 33],
    [3, 7],
  ] as const) {
    const x = random.normal(key(b * 100 + t), [b, t, 4]);
    const [value, slope] = step({ w, x });
    await near(value, network(w, x));
    await near(slope, grad((u: Tensor) => network(u, x))(w));
  }
  stop();
  assert.equal(traces, 1);
});

onEachDevice("norms take batches of any size", async () => {
  const norms = nn.sequential(nn.groupNorm(2, 4), nn.batchNorm(4), nn.layerNorm(5), nn.rmsNorm(5)).init(key(0));
  const f = jit((x: Tensor) => norms(x), { symbols: symbolic({ 0: [symbol("batch", { hi: 8 }), null, null] }) });
  for (const b of [1, 3]) {
    const x = random.normal(key(b), [b, 4, 5]);
    await near(f(x), norms(x));
  }
});

onEachDevice("sizes outside of the bounds, of no multiple, or that differ are refused", async () => {
  const even = symbol("even", { lo: 4, hi: 16, multiple: 2 });
  const f = jit((x: Tensor, y: Tensor) => x.add(y).sum(), { symbols: symbolic({ 0: [even], 1: [even] }) });
  assert.equal(await f(tensor([1, 2, 3, 4]), tensor([1, 1, 1, 1])).item(), 14);
  for (const n of [2, 18, 5])
    assert.throws(
      () => f(zeros([n]), zeros([n])),
      (e) => e instanceof ShapeError && /dimension even: expected a multiple of 2 in 4\.\.16, got/.test(e.message),
    );
  assert.throws(() => f(zeros([4]), zeros([6])), /expected axis 0 to be even = 4/);
  assert.throws(() => f(zeros([4, 1]), zeros([4])), ShapeError);
  // The number of a scan's steps is part of the trace.
  const steps = jit((x: Tensor) => scan((c: Tensor, r: Tensor) => [c.add(r), null], tensor(0), x)[0], {
    symbols: symbolic({ 0: [even] }),
  });
  assert.throws(() => steps(zeros([4])), ShapeError);
});

const config = llamaConfig("llama-tiny", {
  vocabSize: 300,
  hiddenSize: 24,
  intermediateSize: 24,
  numHiddenLayers: 2,
  numAttentionHeads: 4,
  numKeyValueHeads: 2,
  headDim: 4,
  maxPositionEmbeddings: 256,
  initializerRange: 0.6,
});

/** The likeliest tokens, each from the whole sequence anew. */
async function uncached(m: Llama, begin: readonly number[], count: number): Promise<number[]> {
  const ids = [...begin];
  for (let i = 0; i < count; i++) {
    const logits = m(tensor(Int32Array.from(ids), { shape: [1, ids.length] })).at(0, -1);
    const values = [...(await logits.data())].map(Number);
    ids.push(values.indexOf(Math.max(...values)));
  }
  return ids.slice(begin.length);
}

test("prompts of 1, 7, 63 and 200 tokens are one trace of the prompt's step and one of the token's", async () => {
  await device("cpu");
  const m = llama(config).init(key(5));
  const traced: string[] = [];
  const compiled: string[] = [];
  const stop = [onTrace((name) => traced.push(name)), onCompile((fn) => compiled.push(fn.name))];
  for (const length of [1, 7, 63, 200, 7]) {
    const begin = Array.from({ length }, (_, i) => (i * i * 7) % 300);
    const session = new Session(m);
    const first = await session.next(begin);
    const second = await session.next([first]);
    for (const end of stop) end();
    session.dispose();
    assert.deepEqual([first, second], await uncached(m, begin, 2), `${length} tokens`);
    stop.push(
      onTrace((name) => traced.push(name)),
      onCompile((fn) => compiled.push(fn.name)),
    );
  }
  for (const end of stop) end();
  const counted = (names: readonly string[], name: string) => names.filter((n) => n === name).length;
  assert.deepEqual([counted(traced, "prefill"), counted(traced, "decode")], [1, 1]);
  // Compiled for 16, 64 and 256 positions, and once for single tokens.
  assert.deepEqual([counted(compiled, "prefill"), counted(compiled, "decode")], [3, 1]);
});
