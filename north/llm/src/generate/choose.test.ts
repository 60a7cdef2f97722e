/** Scores through the processors, against `transformers`; draws and likelihoods from what remains. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { device, jit, key, random, type Tensor, tensor } from "sinan";
import { onEachDevice } from "../../../../tests/devices.ts";
import { loadCases } from "../../../../tests/fixtures/load.ts";
import { choose, processed } from "./choose.ts";
import { samplingOf } from "./options.ts";
import { processingOf } from "./step.ts";

const { cases } = loadCases("generate");

/** Which tokens a row has, as the step keeps it. */
function mask(ids: ArrayLike<number>, rows: number, size: number): Tensor {
  const seen = new Uint8Array(rows * size);
  const each = ids.length / rows;
  for (let i = 0; i < ids.length; i++) seen[Math.floor(i / each) * size + Number(ids[i])] = 1;
  return tensor(seen, { shape: [rows, size], dtype: "bool" });
}

onEachDevice("what is left of scores is what transformers leaves", async () => {
  for (const { name, sampled, settings, tensor: part } of cases) {
    const { values, shape } = part("scores");
    const [rows, size] = shape as [number, number];
    const { repetition_penalty: penalty, top_k: topK, top_p: topP, min_p: minP, temperature = 1 } = settings;
    const sampling = {
      temperature: sampled ? temperature : 0,
      ...(penalty !== undefined && { repetitionPenalty: penalty }),
      ...(topK !== undefined && { topK }),
      ...(topP !== undefined && { topP }),
      ...(minP !== undefined && { minP }),
    };
    const processing = processingOf(samplingOf(sampling, rows, size));
    const run = jit((x: Tensor, seen: Tensor, p: typeof processing) => processed(x, p, seen));
    const got = await run(
      tensor(values, { shape, dtype: "f32" }),
      mask(part("ids").values, rows, size),
      processing,
    ).data();
    part("processed").values.forEach((x, i) => {
      const y = Number(got[i]);
      // One product and one quotient, each rounded once.
      assert.ok(x === y || Math.abs(x - y) <= 2 ** -22 * Math.abs(x), `${name} ${i}: ${y} for ${x}`);
    });
  }
});

test("no token is drawn that was removed, and the others are in their share", async () => {
  await device("interpreter");
  const logits = [2, 1.5, 1, 0, -1, 1.5];
  const count = 3000;
  const keys = random.bits(key(7), [count, 2]);
  const position = tensor(new Int32Array(count), { dtype: "u32" });
  const rows = tensor(
    Array.from({ length: count }, () => logits),
    { dtype: "f32" },
  );
  const draw = { temperature: 0.9, topK: 4, tail: 1 - 0.9, minP: null };
  const { token } = choose(rows, { penalty: null, draw }, { keys, position }, null, null);
  const seen = new Array<number>(logits.length).fill(0);
  for (const t of await token.data()) seen[Number(t)] = (seen[Number(t)] ?? 0) + 1 / count;
  // Of 2, 1.5, 1.5 and 1 the last has a share of 0.13, so the others leave more than a tenth.
  const weights = [2, 1.5, 1, -1e9, -1e9, 1.5].map((x) => Math.exp(x / 0.9));
  const total = weights.reduce((a, b) => a + b);
  weights.forEach((w, i) => {
    const p = w / total;
    const margin = p === 0 ? 0 : 5 * Math.sqrt((p * (1 - p)) / count);
    assert.ok(Math.abs((seen[i] ?? 0) - p) <= margin, `token ${i}: ${seen[i]} for ${p}`);
  });
});

test("a row with a NaN among its logits has no token, whatever is removed", async () => {
  await device("interpreter");
  const logits = tensor([
    [1, Number.NaN, 3],
    [1, 2, 3],
  ]);
  const place = { keys: random.bits(key(1), [2, 2]), position: tensor([0, 0], { dtype: "u32" }) };
  const draw = { temperature: 1, topK: 1, tail: 0.5, minP: 0.5 };
  for (const processing of [
    { penalty: null, draw: null },
    { penalty: null, draw },
  ]) {
    const { token } = choose(logits, processing, place, null, 2);
    assert.deepEqual(Array.from(await token.data(), Number), [3, 2]);
  }
});
