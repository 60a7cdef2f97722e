/** Scatters into memory that is given away change the elements that their indices name, and nothing is copied; what is still needed stays as
 *  it was. Expected numbers are plain loops over arrays. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  add,
  device,
  jit,
  key,
  mul,
  region,
  scan,
  scatter,
  take,
  type Tensor,
  tensor,
  transpose,
} from "../core/src/index.ts";
import { addCommands, type Launch, type Plan, type Slot } from "../core/src/runtime/program.ts";
import { watch } from "../core/src/runtime/watch.ts";
import { callOf } from "../core/src/tensor/jit.ts";
import { llama, llamaConfig } from "../north/llm/src/index.ts";
import { Session } from "../north/llm/src/generate/session.ts";
import { tinyShape } from "../north/llm/src/tiny.fixture.ts";
import { onEachDevice } from "./devices.ts";

const [rows, width] = [6, 5];
const numbers = (count: number, by: number): number[] => Array.from({ length: count }, (_, i) => (i * by) % 17);
const cacheOf = (): Tensor => tensor(numbers(rows * width, 7), { shape: [rows, width] });
const values = async (x: Tensor): Promise<number[]> => [...((await x.data()) as Float32Array)];

/** What a scatter of rows gives. */
function scattered(mode: "set" | "add", indices: readonly number[], updates: readonly number[]): number[] {
  const x = numbers(rows * width, 7);
  indices.forEach((row, i) => {
    if (row < 0 || row >= rows) return;
    for (let c = 0; c < width; c++) {
      const update = updates[i * width + c] as number;
      x[row * width + c] = mode === "set" ? update : (x[row * width + c] as number) + update;
    }
  });
  return x;
}

/** Bytes that the plan copies when what it was given away is taken over. */
function copiedBytes({ steps, reuse }: Plan): number {
  let bytes = 0;
  const memories = new Map<string, { readonly bytes: number; readonly space: "device" }>();
  const region = (slot: Slot) => {
    const { kind } = slot;
    const own = kind === "temporary" ? "" : kind === "input" ? slot.index : `out ${slot.index}`;
    const name = kind === "output" && (reuse[slot.index] ?? -1) >= 0 ? reuse[slot.index] : own;
    const memory = memories.get(`${name}`) ?? { bytes: 0, space: "device" };
    memories.set(`${name}`, memory);
    return { memory, offset: kind === "temporary" ? slot.block * 2 ** 40 + slot.offset : 0, bytes: slot.bytes };
  };
  const push = (command: { readonly kind: string; readonly to?: { readonly bytes: number } }): void => {
    if (command.kind === "copy") bytes += command.to?.bytes ?? 0;
  };
  for (const step of steps as readonly Launch[]) addCommands({ push }, step, [], region, () => 0);
  return bytes;
}

for (const mode of ["set", "add"] as const) {
  const put = (cache: Tensor, at: Tensor, updates: Tensor): Tensor => scatter(cache, at, updates, { mode });
  const indices = [4, 1, -1, 4, 6];
  const updates = numbers(indices.length * width, 5);
  const given = (): [Tensor, Tensor] => [tensor(indices, { dtype: "i32" }), tensor(updates, { shape: [5, width] })];

  onEachDevice(`scatter (${mode}) into what is given away, and into what is kept`, async () => {
    const want = scattered(mode, indices, updates);
    assert.deepEqual(await values(jit(put, { donate: [0] })(cacheOf(), ...given())), want);
    const kept = cacheOf();
    assert.deepEqual(await values(jit(put)(kept, ...given())), want);
    assert.deepEqual(await values(kept), numbers(rows * width, 7));
  });

  onEachDevice(`scatter (${mode}) into what another result reads, which comes before or later`, async () => {
    const want = scattered(mode, indices, updates);
    const both = (cache: Tensor, at: Tensor, rest: Tensor): Tensor[] => [put(cache, at, rest), cache.sum(1)];
    const [changed, sums] = jit(both, { donate: [0] })(cacheOf(), ...given()) as [Tensor, Tensor];
    assert.deepEqual(await values(changed), want);
    assert.deepEqual(await values(sums), await values(cacheOf().sum(1)));
  });

  onEachDevice(`scatter (${mode}) into a temporary, twice`, async () => {
    const twice = (cache: Tensor, at: Tensor, rest: Tensor): Tensor => {
      const doubled = cache.mul(2).tanh().mul(0).add(cache);
      return put(put(doubled, at, rest), at, rest);
    };
    const once = scattered(mode, indices, updates);
    const again = mode === "set" ? once : once.map((v, i) => 2 * v - (numbers(rows * width, 7)[i] as number));
    assert.deepEqual(await values(jit(twice)(cacheOf(), ...given())), again);
  });
}

onEachDevice("rows of a cache that are moved within it are read before they are written over", async () => {
  const shift = (cache: Tensor, to: Tensor, from: Tensor): Tensor =>
    scatter(cache, to, take(cache, from).mul(3), { mode: "set" });
  const to = [1, 2, 3, 4];
  const from = [0, 1, 2, 3];
  const x = numbers(rows * width, 7);
  const want = scattered(
    "set",
    to,
    from.flatMap((row) => x.slice(row * width, (row + 1) * width).map((v) => 3 * v)),
  );
  const given = [to, from].map((at) => tensor(at, { dtype: "i32" })) as [Tensor, Tensor];
  assert.deepEqual(await values(jit(shift, { donate: [0] })(cacheOf(), ...given)), want);
});

onEachDevice("what a region is given twice is not written over while it is read in another order", async () => {
  const turned = region((x: Tensor, y: Tensor) => add(x, mul(transpose(y), 3)));
  const put = region((x: Tensor, rest: Tensor) =>
    scatter(x, tensor([1, 2, 0], { dtype: "i32" }), rest.mul(2), { mode: "set" }),
  );
  const data = numbers(9, 5);
  const square = (): Tensor => tensor(data, { shape: [3, 3] });
  const at = (r: number, c: number): number => data[3 * r + c] as number;
  const all = (of: (r: number, c: number) => number): number[] => data.map((_, i) => of(Math.floor(i / 3), i % 3));
  assert.deepEqual(
    await values(jit((x: Tensor) => turned(x, x), { donate: [0] })(square())),
    all((r, c) => at(r, c) + 3 * at(c, r)),
  );
  assert.deepEqual(
    await values(jit((x: Tensor) => put(x, x), { donate: [0] })(square())),
    all((r, c) => 2 * at((r + 2) % 3, c)),
  );
});

onEachDevice("the carry of a loop is scattered into, and its beginning kept", async () => {
  const cache = cacheOf();
  const filled = jit((begin: Tensor, at: Tensor, updates: Tensor) => {
    const [last] = scan(
      (carry: Tensor, row: { at: Tensor; update: Tensor }) => [
        scatter(carry, row.at.reshape([1]), row.update.reshape([1, width]), { mode: "add" }),
        null,
      ],
      begin,
      { at, update: updates },
    );
    return last;
  });
  const indices = [2, 0, 2, 5, 2];
  const updates = numbers(5 * width, 3);
  const result = filled(cache, tensor(indices, { dtype: "i32" }), tensor(updates, { shape: [5, width] }));
  assert.deepEqual(await values(result), scattered("add", indices, updates));
  assert.deepEqual(await values(cache), numbers(rows * width, 7));
});

test("a plan copies a cache where it is kept, and nothing where it is given away", async () => {
  await device("cpu");
  const put = (cache: Tensor, at: Tensor, updates: Tensor): Tensor => scatter(cache, at, updates, { mode: "set" });
  const args = [cacheOf(), tensor([1], { dtype: "i32" }), tensor(numbers(width, 3), { shape: [1, width] })];
  const planOf = async (f: object): Promise<Plan> =>
    (callOf.get(f) as NonNullable<ReturnType<typeof callOf.get>>)(args).program.plan();
  assert.equal(copiedBytes(await planOf(jit(put))), rows * width * 4);
  assert.equal(copiedBytes(await planOf(jit(put, { donate: [0] }))), 0);
});

test("a step of generation copies nothing, and holds no second cache", async () => {
  await device("cpu");
  const config = llamaConfig("llama-tiny", { vocabSize: 300, ...tinyShape });
  const session = new Session(llama(config).init(key(3)), { capacity: 64 });
  const plans = new Map<string, Plan>();
  watch.by = {
    event: () => undefined,
    ran: ({ ready }) => void (ready && plans.set(ready.plan.name, ready.plan)),
  };
  try {
    for (const tokens of [[3, 1, 4], [1], [5]]) await session.next(tokens);
  } finally {
    watch.by = null;
    session.dispose();
  }
  for (const name of ["prefill", "decode"]) {
    const plan = plans.get(name);
    assert.ok(plan, `${name} did not run`);
    assert.equal(copiedBytes(plan), 0, name);
    assert.equal(plan.steps.filter((s) => "over" in s && s.over).length, 2 * config.numHiddenLayers, name);
    const cache = config.numKeyValueHeads * 64 * config.headDim * 4;
    const results = plan.layout.values.filter(({ output, bytes }) => output !== undefined && bytes === cache);
    assert.equal(results.length, 2 * config.numHiddenLayers, name);
    for (const { output = 0 } of results) assert.ok((plan.reuse[output] ?? -1) >= 0, `${name}: result ${output}`);
  }
});
