/** Attention with whole matrices of scores is what the op of tiles says; capped scores, dropped weights, linear biases. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ArgumentError,
  broadcast,
  device,
  eye,
  footprint,
  jit,
  key,
  nn,
  random,
  tensor,
  type Tensor,
  valueAndGrad,
} from "sinan";
import { onEachDevice } from "../../../../tests/devices.ts";
import { type LlamaConfig, llamaConfig } from "../config.ts";
import { alibi, alibiSlopes } from "./alibi.ts";
import { type Llama, llama } from "./llama.ts";
import { loss } from "./loss.ts";
import { plainAttention, type PlainOptions } from "./plain-attention.ts";

const draw = (seed: number, ...shape: readonly number[]): Tensor => random.normal(key(seed), shape);
const ints = (values: readonly number[], shape: readonly number[]): Tensor =>
  tensor(Int32Array.from(values), { shape });
const plain: Omit<PlainOptions, "places"> = { scale: 0.4, softcap: null, starts: null, bias: null, drop: (x) => x };

const near = (got: ArrayLike<number | bigint>, want: ArrayLike<number | bigint>, tolerance = 1e-5): void => {
  assert.equal(got.length, want.length);
  for (let i = 0; i < got.length; i++)
    assert.ok(Math.abs(Number(got[i]) - Number(want[i])) < tolerance, `${i}: ${got[i]} for ${want[i]}`);
};

onEachDevice("whole matrices give what tiles give: groups, first keys, biases, caches that are not full", async () => {
  const [q, k, v] = [draw(1, 2, 4, 3, 6), draw(2, 2, 2, 5, 6), draw(3, 2, 2, 5, 6)];
  const starts = ints([0, 1, 2, 0, 0, 3], [2, 3]);
  const bias = alibi(ints([0, 1, 2, 3, 4], [5]), 4);
  for (const [first, second] of [
    [2, 2],
    [1, 0],
  ] as const) // of the queries' places
    near(
      await plainAttention(q, k, v, {
        ...plain,
        places: ints([first, first + 1, first + 2, second, second + 1, second + 2], [2, 3]),
        starts,
        bias,
      }).data(),
      await nn
        .scaledDotProductAttention(q, k, v, {
          causal: true,
          scale: 0.4,
          mask: bias,
          kvStarts: starts,
          kvLengths: ints([first + 3, second + 3], [2]),
        })
        .data(),
    );
});

onEachDevice("each weight of attention is dropped or divided by what remains, each by itself", async () => {
  const time = 24;
  const [q, k] = [draw(1, 2, 2, time, 4), draw(2, 2, 1, time, 4)];
  // Values that are the unit vectors show the weights.
  const v = broadcast(eye(time), [2, 1, time, time]);
  const places = ints(
    Array.from({ length: time }, (_, i) => i),
    [1, time],
  );
  const dropped = 0.25;
  const drop = (weights: Tensor): Tensor => nn.functional.dropout(weights, dropped, key(5));
  const of = (options: Partial<PlainOptions>): Promise<ArrayLike<number | bigint>> =>
    plainAttention(q, k, v, { ...plain, places, ...options }).data();
  const [whole, got] = [await of({}), await of({ drop })];
  let [zeros, seen] = [0, 0];
  for (let i = 0; i < whole.length; i++) {
    const [w, g] = [Number(whole[i]), Number(got[i])];
    if (w === 0) assert.equal(g, 0);
    else {
      seen++;
      if (g === 0) zeros++;
      else assert.ok(Math.abs(g - w / (1 - dropped)) < 1e-6, `${i}: ${g} for ${w}`);
    }
  }
  assert.equal(seen, (4 * time * (time + 1)) / 2);
  const deviation = Math.sqrt(seen * dropped * (1 - dropped));
  assert.ok(Math.abs(zeros - dropped * seen) < 4 * deviation, `${zeros} of ${seen}`);
});

const small = {
  vocabSize: 37,
  hiddenSize: 16,
  intermediateSize: 24,
  numHiddenLayers: 1,
  numAttentionHeads: 4,
} as const;
const shaped = { ...small, numKeyValueHeads: 2, headDim: 4, maxPositionEmbeddings: 512 };
const someIds = (time: number): Tensor =>
  ints(
    Array.from({ length: time }, (_, i) => (i * 31 + (i % 5)) % 37),
    [1, time],
  );

test("a model drops weights of attention in training only", async () => {
  await device("cpu");
  const [none, some] = [0, 0.3].map((attentionDropout) =>
    llama(llamaConfig("llama-tiny", { ...shaped, numHiddenLayers: 2, attentionDropout })).init(key(0)),
  ) as [Llama, Llama];
  const ids = someIds(12);
  const of = (model: Llama, seed: number | null) =>
    model(ids, seed === null ? { train: false } : { train: true, key: key(seed) }).data();
  assert.deepEqual(await of(some, null), await of(none, null));
  assert.deepEqual(await of(none, 1), await of(none, null));
  assert.notDeepEqual(await of(some, 1), await of(none, 1));
  assert.throws(() => some(ids, { train: true }), ArgumentError);
});

test("slopes are those of the paper", () => {
  assert.deepEqual(
    alibiSlopes(8),
    [1, 2, 3, 4, 5, 6, 7, 8].map((i) => 2 ** -i),
  );
  // Those of 16 heads, every other one, follow: the paper's footnote 4.
  assert.deepEqual(alibiSlopes(12), [...alibiSlopes(8), ...[1, 3, 5, 7].map((i) => 2 ** (-i / 2))]);
});

test("linear biases need no matrix of scores, and documents in one row are as alone", async () => {
  await device("cpu", { options: { threads: 1 } });
  const config = llamaConfig("llama-tiny", { ...shaped, modelType: "decoder", position: "alibi", embeddingNorm: true });
  const model = llama(config).init(key(3));
  const peak = async (changes: Partial<LlamaConfig>): Promise<number> => {
    const step = jit((m: Llama, ids: Tensor) => valueAndGrad((n: Llama) => loss(n, ids, ids))(m));
    return (await footprint(step, llama({ ...config, ...changes }).init(key(3)), someIds(256))).peakBytes;
  };
  const matrix = 4 * 256 * 256 * 4; // the scores of four heads
  const turning = await peak({ position: "rotary" });
  assert.ok((await peak({})) < turning + matrix / 4);
  assert.ok((await peak({ position: "rotary", attentionSoftcap: 5 })) > turning + matrix / 2, "with scores it shows");

  const [ids, other] = [someIds(5), someIds(7)];
  const row = ints([...Array.from(await ids.data(), Number), ...Array.from(await other.data(), Number)], [1, 12]);
  const packed = await model({ ids: row, segments: ints([0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1], [1, 12]) }).data();
  const alone = [await model(ids).data(), await model(other).data()].flatMap((x) => Array.from(x, Number));
  near(packed, alone);
  const given = { ids, positions: ints([3, 4, 5, 6, 7], [1, 5]) };
  near(await model(given).data(), await model(ids).data());
});
