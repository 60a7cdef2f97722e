/** Modules as trees: initialisation, names, transforms, regions, and what they refuse. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { close } from "../../../tests/close.ts";
import { onEachDevice } from "../../../tests/devices.ts";
import {
  ArgumentError,
  DTypeError,
  device,
  jit,
  key,
  nn,
  ones,
  random,
  region,
  ShapeError,
  tensor,
  type Tensor,
  tree,
  TreeError,
  valueAndGrad,
  zeros,
} from "../index.ts";

const values = async (x: Tensor): Promise<number[]> => Array.from(await x.data(), Number);

const block = (dim: number, p = 0) =>
  nn.module("block", { norm: nn.rmsNorm(dim), map: nn.linear(dim, dim), drop: nn.dropout(p) }, blockForward);
function blockForward(self: { norm: nn.Layer; map: nn.Layer; drop: nn.Layer }, x: Tensor, ctx: nn.Context): Tensor {
  return x.add(self.drop(self.map(self.norm(x, ctx), ctx), ctx));
}

test("init names each parameter by its path and draws it from that path's key", async () => {
  await device("interpreter");
  const model = nn.sequential(nn.linear(3, 4), nn.relu, nn.linear(4, 4), nn.linear(4, 4));
  const a = model.init(key(1));
  const named = nn.namedParameters(a);
  assert.deepEqual(Object.keys(named), [
    "layers.0.bias",
    "layers.0.weight",
    "layers.2.bias",
    "layers.2.weight",
    "layers.3.bias",
    "layers.3.weight",
  ]);
  assert.equal(nn.parameterCount(model), 16 + 20 + 20);
  assert.equal(nn.parameterCount(a), 56);
  const again = nn.namedParameters(model.init(key(1)));
  const other = nn.namedParameters(model.init(key(2)));
  for (const path of Object.keys(named)) {
    const mine = await values(named[path] as Tensor);
    assert.deepEqual(mine, await values(again[path] as Tensor), path);
    assert.notDeepEqual(mine, await values(other[path] as Tensor), path);
    assert.ok(mine.every((x) => Math.abs(x) <= 1 / Math.sqrt(path.startsWith("layers.0") ? 3 : 4)));
  }
  assert.notDeepEqual(
    await values(a.layers[2].weight),
    await values(a.layers[3].weight),
    "layers of equal shape begin differently",
  );
  // A layer keeps its beginning when another is added behind it.
  const longer = nn
    .sequential(nn.linear(3, 4), nn.relu, nn.linear(4, 4), nn.linear(4, 4), nn.linear(4, 1))
    .init(key(1));
  assert.deepEqual(await values(longer.layers[2].weight), await values(a.layers[2].weight));
});

test("an uninitialised module says that init is missing, and init leaves it as it was", async () => {
  await device("interpreter");
  const model = nn.sequential(nn.linear(2, 3), nn.relu);
  const says = (error: unknown) =>
    error instanceof ArgumentError && /linear: its parameter weight has no value yet\n.*init\(key/.test(error.message);
  assert.throws(() => model(ones([1, 2])), says);
  assert.throws(() => model.layers[0].weight, says);
  assert.throws(() => nn.namedParameters(model), ArgumentError);
  model.init(key(0));
  assert.throws(() => model(ones([1, 2])), says);
});

onEachDevice("the target usage: gradients are modules, jitted steps take and give them", async () => {
  const model = nn.sequential(nn.linear(3, 5), nn.relu, nn.linear(5, 2)).init(key(0));
  const x = tensor([
    [1, -2, 3],
    [0.5, 0.25, -1],
  ]);
  const y = tensor(Int32Array.of(0, 1));
  const loss = (m: typeof model, inputs: Tensor) => nn.crossEntropy(m(inputs), y);
  const [eager, grads] = valueAndGrad(loss)(model, x);
  assert.deepEqual(grads.layers[2].weight.shape, [2, 5]);
  const step = jit((state: { model: typeof model }, inputs: Tensor, rate: number) => {
    const [value, g] = valueAndGrad(loss)(state.model, inputs);
    return { value, model: tree.map((p, d) => p.sub(d.mul(rate)), state.model, g) };
  });
  const expected = tree.map((p, d) => p.sub(d.mul(0.5)), model, grads);
  const out = step({ model }, x, 0.5);
  await close(out.value, await values(eager));
  for (const [path, p] of Object.entries(nn.namedParameters(out.model)))
    await close(p, await values(nn.namedParameters(expected)[path] as Tensor), {}, path);
  assert.ok(
    (await loss(out.model, x).item()) < (await eager.item()),
    "what comes out is a module again, and it has learned",
  );
});

test("withParameters replaces all, and names what does not fit", async () => {
  await device("interpreter");
  const model = nn.linear(2, 1);
  const weight = tensor([[1, 2]]);
  const bias = tensor([3]);
  await close(nn.withParameters(model, { weight, bias })(tensor([[4, 5]])), [17]);
  await close(nn.withParameters(model.init(key(0)), { weight, bias })(tensor([[4, 5]])), [17]);
  assert.throws(
    () => nn.withParameters(model, { weight }),
    (e) => e instanceof TreeError && e.message.includes("missing bias"),
  );
  assert.throws(
    () => nn.withParameters(model, { weight, bias, scale: bias }),
    (e) => e instanceof TreeError && e.message.includes("scale"),
  );
  assert.throws(
    () => nn.withParameters(model, { weight: bias, bias }),
    (e) => e instanceof ShapeError && e.message.includes("weight should be f32[1, 2], got f32[1]"),
  );
  assert.throws(
    () => nn.withParameters(model, { weight: tensor(Float64Array.of(1, 2), { shape: [1, 2] }), bias }),
    DTypeError,
  );
});

onEachDevice("dropout zeroes its share, scales the rest, and follows from key and path alone", async () => {
  const drop = nn.dropout(0.25);
  const x = ones([4000]);
  assert.equal(drop(x), x, "outside training it is the identity");
  const ctx = { train: true, key: key(5) };
  const once = await values(drop(x, ctx));
  assert.deepEqual(new Set(once), new Set([0, Math.fround(4 / 3)]));
  const zeroShare = once.filter((v) => v === 0).length / 4000;
  assert.ok(Math.abs(zeroShare - 0.25) < 0.03, `${zeroShare} of the elements are 0`);
  assert.deepEqual(await values(drop(x, ctx)), once);
  assert.notDeepEqual(await values(drop(x, { train: true, key: key(6) })), once);
  const twice = nn.sequential(nn.dropout(0.25), nn.dropout(0.25));
  const both = await values(twice(x, ctx));
  const share = both.filter((v) => v === 0).length / 4000;
  assert.ok(Math.abs(share - (1 - 0.75 ** 2)) < 0.03, `two layers draw independently: ${share}`);
});

test("dropout asks for a key and a place", () => {
  assert.throws(() => nn.dropout(0.5)(ones([2]), { train: true }), /has no key/);
  assert.throws(() => nn.dropout(1), ArgumentError);
  const inline = nn.module("inline", {}, (_, x: Tensor, ctx) => nn.dropout(0.5)(x, ctx));
  assert.throws(() => inline(ones([2]), { train: true, key: key(0) }), /its path is not known/);
});

onEachDevice("equal layers share one region's trace and draw different numbers", async () => {
  const [dim, depth] = [4, 3];
  let traces = 0;
  const layerStep = region((layer: ReturnType<typeof block>, x: Tensor, ctx: nn.Context) => {
    traces++;
    return layer(x, ctx);
  });
  const stack = (through: typeof layerStep) =>
    nn.module("stack", { layers: Array.from({ length: depth }, () => block(dim, 0.5)) }, (self, x: Tensor, ctx) =>
      self.layers.reduce((h, layer) => through(layer, h, nn.contextAt(ctx, layer)), x),
    );
  const regional = stack(layerStep).init(key(0));
  const plain = stack((layer, x, ctx) => layer(x, ctx)).init(key(0));
  const x = tensor([[1, 2, 3, 4]]);
  const ctx = { train: true, key: key(9) };
  const expected = await values(plain(x, ctx));
  await close(regional(x, ctx), expected);
  assert.equal(traces, 1);
  const run = jit((m: typeof regional, input: Tensor, seed: Tensor) => m(input, { train: true, key: seed }));
  await close(run(regional, x, key(9)), expected);
  assert.equal(traces, 1);
  // With the same weights everywhere, only the drawn numbers can tell the layers apart.
  const same = tree.map((p) => zeros(p.dims).add(0.5), regional);
  const kept = await Promise.all(
    same.layers.map(async (layer) =>
      (await values(layerStep(layer, ones([1, 64 / 16]), nn.contextAt(ctx, layer)))).join(),
    ),
  );
  assert.ok(new Set(kept).size > 1, "the layers' masks differ");
  // Called in another order, in a process that traced another layer first, a layer draws the same.
  const fresh = region((layer: ReturnType<typeof block>, input: Tensor, c: nn.Context) => layer(input, c));
  const backwards: string[] = [];
  for (const layer of same.layers.toReversed())
    backwards.unshift((await values(fresh(layer, ones([1, 4]), nn.contextAt(ctx, layer)))).join());
  assert.deepEqual(backwards, kept);
  assert.throws(
    () =>
      region((layer: ReturnType<typeof block>, input: Tensor, c: nn.Context) => layer(input, c))(
        regional.layers[0] as ReturnType<typeof block>,
        x,
        { ...ctx, path: "" },
      ),
    /contextAt/,
  );
});

test("a module's parts keep their types and names", () => {
  assert.throws(() => nn.module("bad", { call: nn.linear(1, 1) }, (_, x: Tensor) => x), ArgumentError);
  const made = nn
    .module("made", { scale: 3, inner: { map: nn.linear(1, 1, { bias: false }) }, extra: null }, (self, x: Tensor) =>
      self.inner.map(x).mul(self.scale),
    )
    .init(key(0));
  const scale: 3 = made.scale;
  const weight: Tensor = made.inner.map.weight;
  const bias: Tensor | null = made.inner.map.bias;
  assert.equal(scale, 3);
  assert.deepEqual(weight.shape, [1, 1]);
  assert.equal(bias, null);
  assert.deepEqual(Object.keys(nn.namedParameters(made)), ["inner.map.weight"]);
  // @ts-expect-error: a module takes the input that its forward takes
  assert.throws(() => made("text"));
});

test("random initialisers have the spread they promise", async () => {
  await device("interpreter");
  const spread = async (initializer: nn.Initializer) => {
    const v = await values(initializer(random.key(3), [64, 32], "f32"));
    return v.reduce((s, x) => s + x * x, 0) / v.length;
  };
  const near = (got: number, want: number) =>
    assert.ok(Math.abs(got / want - 1) < 0.1, `${got} should be near ${want}`);
  near(await spread(nn.initializers.fanInUniform), 1 / 32 / 3);
  near(await spread(nn.initializers.heNormal), 2 / 32);
  near(await spread(nn.initializers.xavierNormal()), 2 / 96);
  near(await spread(nn.initializers.normal({ std: 0.02 })), 0.0004);
});
