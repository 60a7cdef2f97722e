/** Calls that are like the ones before them: models are recognised as they are, commands are kept where values lie where they lay. What a
 *  call gives is what a first call would. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { device, DisposedError, jit, key, nn, random, type Tensor, tensor, tree } from "../core/src/index.ts";
import { noNative, onEachDevice } from "./devices.ts";

const layers = 10;
const size = 8;
const net = () => nn.sequential(...Array.from({ length: layers }, () => nn.sequential(nn.linear(size, size), nn.tanh)));
type Net = ReturnType<typeof net>;
const drawn = (seed: number): Net => net().init(key(seed));
const values = async (t: Tensor): Promise<number[]> => [...((await t.data()) as Float32Array)];

/** The network by plain numbers: y = tanh(x Wᵗ + b), layer by layer. */
async function expected(model: Net, x: readonly number[], by: number): Promise<number[]> {
  let y = [...x];
  const tensors = Object.values(nn.namedParameters(model));
  for (let layer = 0; layer < layers; layer++) {
    const pair = await Promise.all(tensors.slice(2 * layer, 2 * layer + 2).map(values));
    const [w, b] = pair.toSorted((p, q) => q.length - p.length) as [number[], number[]];
    y = b.map((bias, j) => Math.tanh(y.reduce((sum, v, i) => sum + v * (w[j * size + i] as number), bias)));
  }
  return y.map((v) => v * by);
}

function near(got: readonly number[], want: readonly number[], what: string): void {
  want.forEach((v, i) => {
    assert.ok(Math.abs((got[i] as number) - v) < 1e-5, `${what}: element ${i} is ${got[i]}, not ${v}`);
  });
}

async function alternate(): Promise<void> {
  const run = jit((m: Net, x: Tensor, by: number) => m(x).mul(by));
  const models = [drawn(1), drawn(2)];
  const inputs = Array.from({ length: 3 }, (_, i) => Array.from({ length: size }, (__, j) => Math.sin(i + 3 * j)));
  const tensors = inputs.map((x) => tensor([x]));
  const kept: Tensor[] = [];
  for (let i = 0; i < 40; i++) {
    // Runs of calls with one model, then changes of each argument alone and of several.
    const [m, x, by] = [(i >> 4) & 1, i % 7 < 3 ? 0 : i % 3, i % 5 < 3 ? 1 : i];
    const y = run(models[m] as Net, i % 11 === 5 ? tensor([inputs[x] as number[]]) : (tensors[x] as Tensor), by);
    near(await values(y), await expected(models[m] as Net, inputs[x] as number[], by), `call ${i}`);
    // Some results stay, so that the next ones lie elsewhere.
    if (i % 4 === 1) kept.push(y);
    else y.dispose();
  }
  assert.equal(kept.length, 10);
}

onEachDevice("calls that differ in a model, a tensor or a number give each its own result", alternate);
test("the same on the native tier", { skip: noNative }, async () => {
  await device("cpu:native");
  await alternate();
});

onEachDevice("a weight with another value is seen by the next call", async () => {
  const run = jit((m: Net, x: Tensor) => m(x));
  const model = drawn(3);
  const x = Array.from({ length: size }, (_, i) => i / size);
  for (let round = 0; round < 4; round++) {
    for (let i = 0; i < 4; i++)
      near(await values(run(model, tensor([x]))), await expected(model, x, 1), `round ${round}`);
    const [weight] = Object.values(nn.namedParameters(model)) as [Tensor];
    weight.assign(random.normal(key(round), weight.shape));
  }
});

onEachDevice("a weight that is no more there is missed by the next call", async () => {
  const run = jit((m: Net, x: Tensor) => m(x));
  const x = tensor([Array.from({ length: size }, () => 1)]);
  for (const end of ["dispose", "donate"] as const) {
    const model = drawn(4);
    for (let i = 0; i < 5; i++) await values(run(model, x));
    const [weight] = Object.values(nn.namedParameters(model)) as [Tensor];
    if (end === "dispose") weight.dispose();
    else await values(jit((w: Tensor) => w.mul(2), { donate: [0] })(weight));
    assert.throws(() => run(model, x), DisposedError, end);
  }
});

onEachDevice("a state that each call takes and gives back goes on, beside a model that stays", async () => {
  const run = jit(({ m, state }: { m: Net; state: Tensor }) => ({ state: m(state).add(state) }), { donate: ["state"] });
  const model = drawn(5);
  let state = tensor([Array.from({ length: size }, (_, i) => i / 10)]);
  let want = await values(state);
  for (let i = 0; i < 8; i++) {
    const before = state;
    ({ state } = run({ m: model, state }));
    assert.throws(() => run({ m: model, state: before }), DisposedError);
    const added = await expected(model, want, 1);
    want = want.map((v, j) => v + (added[j] as number));
    near(await values(state), want, `call ${i}`);
  }
});

onEachDevice("a part of a state that stays as it is is a step without a kernel", async () => {
  const run = jit(
    ({ m, state }: { m: Net; state: { still: Tensor; moving: Tensor } }) => ({
      still: state.still,
      moving: m(state.moving).add(state.moving),
    }),
    { donate: ["state"] },
  );
  const model = drawn(6);
  let state = { still: tensor([3, 4, 5]), moving: tensor([Array.from({ length: size }, (_, i) => i / 10)]) };
  let want = await values(state.moving);
  for (let i = 0; i < 4; i++) {
    state = run({ m: model, state });
    const added = await expected(model, want, 1);
    want = want.map((v, j) => v + (added[j] as number));
    near(await values(state.moving), want, `call ${i}`);
    assert.deepEqual(await values(state.still), [3, 4, 5]);
  }
});

test("what a model is made of does not change under it", () => {
  const model = nn
    .module("list", { all: [nn.linear(2, 2)], one: { two: nn.linear(2, 2) } }, (_, x: Tensor) => x)
    .init(key(0));
  assert.throws(() => (model.all as unknown as unknown[]).push(1), TypeError);
  assert.throws(() => Object.assign(model.one, { two: null }), TypeError);
  assert.equal(tree.tensors(model).length, 4);
});
