/** Convolutional layers in a model: names and shapes, training with running statistics, what is refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { onEachDevice } from "../../../tests/devices.ts";
import {
  ArgumentError,
  iota,
  jit,
  key,
  nn,
  random,
  region,
  remat,
  type Tensor,
  tree,
  valueAndGradWith,
} from "../index.ts";

const network = nn.sequential(
  nn.conv2d(1, 4, 3, { padding: "same" }),
  nn.batchNorm(4),
  nn.relu,
  nn.maxPool(2),
  nn.conv2d(4, 8, 3, { stride: 2, padding: [1, [1, 0]], groups: 2, bias: false }),
  nn.groupNorm(2, 8),
  nn.relu,
  (x: Tensor) => x.mean([2, 3]),
  nn.linear(8, 2),
);

test("weights have PyTorch's names and shapes", () => {
  const named = nn.namedParameters(network.init(key(0)));
  const shapes = Object.fromEntries(Object.entries(named).map(([path, p]) => [path, [...p.shape]]));
  assert.deepEqual(shapes["layers.0.weight"], [4, 1, 3, 3]);
  assert.deepEqual(shapes["layers.4.weight"], [8, 2, 3, 3]);
  assert.deepEqual(shapes["layers.1.running_var"], [4]);
  assert.equal(shapes["layers.4.bias"], undefined);
  assert.deepEqual(
    nn.namedParameters(nn.convTranspose2d(4, 6, [2, 3], { groups: 2 }).init(key(0)))["weight"]?.shape,
    [4, 3, 2, 3],
  );
});

test("what does not fit is refused", () => {
  assert.throws(() => nn.conv2d(3, 4, 3, { groups: 2 }), ArgumentError);
  assert.throws(() => nn.conv1d(3, 4, [3, 3]), ArgumentError);
  assert.throws(() => nn.groupNorm(3, 8), ArgumentError);
  const layer = nn.conv2d(3, 4, 3).init(key(0));
  assert.throws(() => layer(random.normal(key(1), [2, 4, 5, 5])), /conv/);
});

onEachDevice("a network learns stripes, and keeps the statistics of its batches", async () => {
  // Stripes along the rows, or along the columns, in noise.
  const classes = iota([16], 0).mod(2);
  const wave = (axis: number): Tensor => iota([16, 1, 8, 8], axis).mod(2).cast("f32");
  const upright = classes.reshape([16, 1, 1, 1]).cast("f32");
  const images = wave(2)
    .mul(upright)
    .add(wave(3).mul(upright.neg().add(1)));
  const x = images.add(random.normal(key(2), images.shape, { std: 0.2 }));
  type Network = typeof network;
  const step = jit((model: Network) => {
    const lossOf = (m: Network): [Tensor, Record<string, Tensor>] => {
      const updates: Record<string, Tensor> = {};
      return [nn.crossEntropy(m(x, { train: true, updates }), classes), updates];
    };
    const [[loss, updates], gradient] = valueAndGradWith(lossOf)(model);
    const moved: Network = tree.map((p: Tensor, g: Tensor) => p.sub(g.mul(0.5)), model, gradient);
    return { loss, model: nn.withUpdates(moved, updates) };
  });
  let model = network.init(key(3));
  const losses: number[] = [];
  for (let i = 0; i < 12; i++) {
    const out = step(model);
    losses.push(await out.loss.item());
    model = out.model;
  }
  assert.ok((losses.at(-1) as number) < 0.5 * (losses[0] as number), String(losses));
  const still = await nn.crossEntropy(model(x), classes).item();
  assert.ok(still < (losses[0] as number), String(still));
  const variance = await model.layers[1].running_var.data();
  assert.ok(variance.every((v) => v !== 1));
});

const block = nn.sequential(nn.conv2d(3, 3, 3, { padding: "same" }), nn.batchNorm(3), nn.relu);
type Unit = (layer: nn.Layer, x: Tensor, ctx: nn.Context) => Tensor;

let traced = 0;
const unit: Unit = (layer, x, ctx) => {
  traced++;
  return layer(x, ctx);
};
const inRegion = region(unit);
const within = remat((layer: nn.Layer, x: Tensor, ctx: nn.Context) => inRegion(layer, x, ctx));

const stackOf = (each: Unit) =>
  nn.module("stack", { blocks: [block, block, block] as const, each }, stackForward).init(key(4));

function stackForward(
  self: { readonly blocks: readonly (typeof block)[]; readonly each: Unit },
  x: Tensor,
  ctx: nn.Context,
): Tensor {
  return self.blocks.reduce((h, layer) => self.each(layer, h, nn.contextAt(ctx, layer)), x);
}

test("equal layers in regions leave statistics of their own, at their own paths", async () => {
  const x = random.normal(key(5), [4, 3, 5, 5]);
  const statistics = async (each: Unit): Promise<Record<string, readonly number[]>> => {
    const model = stackOf(each);
    const left = jit((m: typeof model) => {
      const [[, updates]] = valueAndGradWith((own: typeof model) => {
        const inner: Record<string, Tensor> = {};
        return [own(x, { train: true, updates: inner }).mean(), inner] as const;
      })(m);
      return updates;
    })(model);
    const lists = Object.entries(left).map(async ([path, t]) => [path, Array.from(await t.data(), Number)] as const);
    return Object.fromEntries(await Promise.all(lists));
  };
  const plain = await statistics(unit);
  assert.deepEqual(
    Object.keys(plain).toSorted(),
    [0, 1, 2].flatMap((i) => ["mean", "var"].map((s) => `blocks.${i}.layers.1.running_${s}`)),
  );
  assert.notDeepEqual(plain["blocks.0.layers.1.running_var"], plain["blocks.1.layers.1.running_var"]);
  for (const each of [inRegion, within]) {
    traced = 0;
    const found = await statistics(each);
    assert.ok(traced <= 1, "traced once for the three");
    assert.deepEqual(Object.keys(found).toSorted(), Object.keys(plain).toSorted());
    for (const [path, values] of Object.entries(found))
      values.forEach((v, i) => assert.ok(Math.abs(v - (plain[path]?.[i] ?? 0)) < 1e-6, path));
  }
});
