/** PyTorch's operations in Sinan's words, by the names of `fixtures/ops`. What Sinan has no function for is composed from what
 *  it has, as a user would. */
import * as s from "../core/src/index.ts";
import type { DType, Tensor } from "../core/src/index.ts";
import type { Attribute, View } from "./fixtures/load.ts";

export type Attributes = Readonly<Record<string, Attribute>>;
export type Operation = (x: readonly Tensor[], attr: Attributes) => Tensor;

const one =
  (f: (x: Tensor) => Tensor): Operation =>
  ([x]) =>
    f(x as Tensor);
const two =
  (f: (a: Tensor, b: Tensor) => Tensor): Operation =>
  ([a, b]) =>
    f(a as Tensor, b as Tensor);
const list = (a: Attribute | undefined): readonly number[] => a as readonly number[];
const int = (a: Attribute | undefined): number => a as number;

const reduction =
  (f: (x: Tensor, axes: readonly number[], options: { keepDims: boolean }) => Tensor): Operation =>
  ([x], { axes, keepDim }) =>
    f(x as Tensor, list(axes), { keepDims: keepDim === true });

const sigmoid = (x: Tensor): Tensor => s.div(1, x.neg().exp().add(1));

/** An einsum of two operands without repeated letters in one of them, its result in the order batch, left, right. */
function einsum(equation: string, a: Tensor, b: Tensor): Tensor {
  const [left = "", right = "", out = ""] = equation.split(/,|->/);
  const shared = left.split("").filter((l) => right.includes(l));
  const axes = (letters: readonly string[]): [number[], number[]] => [
    letters.map((l) => left.indexOf(l)),
    letters.map((l) => right.indexOf(l)),
  ];
  return s.dot(a, b, {
    contract: axes(shared.filter((l) => !out.includes(l))),
    batch: axes(shared.filter((l) => out.includes(l))),
  });
}

function crossEntropy(x: Tensor, y: Tensor, ignored: number | undefined): Tensor {
  const target = y.expandDims(-1);
  const chosen = s.where(s.iota(x.shape, x.rank - 1).equal(target), x.logSoftmax(-1), 0).sum();
  const count = ignored === undefined ? y.size : y.notEqual(ignored).sum();
  return chosen.neg().div(count);
}

export const torchOps: Readonly<Record<string, Operation>> = {
  neg: one(s.neg),
  abs: one(s.abs),
  sign: one(s.sign),
  sqrt: one(s.sqrt),
  rsqrt: one(s.rsqrt),
  exp: one(s.exp),
  log: one(s.log),
  sin: one(s.sin),
  cos: one(s.cos),
  tanh: one(s.tanh),
  erf: one(s.erf),
  floor: one(s.floor),
  ceil: one(s.ceil),
  round: one(s.round),
  trunc: one((x) => s.where(x.less(0), x.ceil(), x.floor())),
  relu: one((x) => s.where(x.lessEqual(0), 0, x)),
  "gelu-erf": one((x) => x.mul(0.5).mul(x.mul(Math.SQRT1_2).erf().add(1))),
  "gelu-tanh": one((x) =>
    x.mul(0.5).mul(
      x
        .add(x.mul(x).mul(x).mul(0.044715))
        .mul(Math.sqrt(2 / Math.PI))
        .tanh()
        .add(1),
    ),
  ),
  silu: one((x) => x.mul(sigmoid(x))),
  sigmoid: one(sigmoid),
  softplus: one((x) => s.maximum(x, 0).add(x.abs().neg().exp().add(1).log())),
  add: two(s.add),
  sub: two(s.sub),
  mul: two(s.mul),
  div: two(s.div),
  // Integers are raised as f32.
  pow: two((a, b) => (a.dtype === "i32" ? a.pow(b).round().cast("i32") : a.pow(b))),
  maximum: two(s.maximum),
  minimum: two(s.minimum),
  floor_divide: two(s.floorDivide),
  remainder: two(s.mod),
  divide_trunc: two((a, b) => a.abs().floorDivide(b.abs()).mul(a.sign()).mul(b.sign())),
  eq: two(s.equal),
  ne: two(s.notEqual),
  lt: two(s.less),
  le: two(s.lessEqual),
  gt: two(s.greater),
  ge: two(s.greaterEqual),
  logical_and: two(s.and),
  logical_or: two(s.or),
  logical_xor: two(s.xor),
  logical_not: one(s.not),
  where: ([c, a, b]) => s.where(c as Tensor, a as Tensor, b as Tensor),
  cast: ([x], { dtype }) => (x as Tensor).cast(dtype as DType),
  reshape: ([x], { shape }) => (x as Tensor).reshape(list(shape)),
  permute: ([x], { axes }) => (x as Tensor).transpose(list(axes)),
  expand: ([x], { shape }) => (x as Tensor).broadcast(list(shape)),
  pad: ([x], { pads, value }) =>
    (x as Tensor).pad(pads as unknown as readonly (readonly [number, number])[], int(value)),
  slice: ([x], { starts, stops, steps }) => sliced(x as Tensor, list(starts), list(stops), list(steps)),
  flip: ([x], { axes }) => (x as Tensor).flip(list(axes)),
  concat: (x, { axis }) => s.concat(x, int(axis)),
  sum: reduction(s.sum),
  mean: reduction(s.mean),
  amax: reduction(s.max),
  amin: reduction(s.min),
  prod: reduction(s.prod),
  logsumexp: reduction(s.logSumExp),
  any: reduction(s.any),
  all: reduction(s.all),
  argmax: ([x], { axis }) => s.argmax(x as Tensor, int(axis)),
  argmin: ([x], { axis }) => s.argmin(x as Tensor, int(axis)),
  matmul: two(s.matmul),
  tensordot: ([a, b], { axes }) =>
    s.dot(a as Tensor, b as Tensor, { contract: axes as unknown as readonly [readonly number[], readonly number[]] }),
  einsum: ([a, b], { equation }) => einsum(equation as string, a as Tensor, b as Tensor),
  index_select: ([x, i], { axis }) => (x as Tensor).take(i as Tensor, int(axis)),
  embedding: ([table, i]) => (table as Tensor).take(i as Tensor),
  gather: ([x, i], { axis }) => s.takeAlongAxis(x as Tensor, i as Tensor, int(axis)),
  scatter_add: ([x, i, added], { axis }) =>
    s.putAlongAxis(x as Tensor, i as Tensor, added as Tensor, int(axis), { mode: "add" }),
  attention: ([q, k, v, mask], { causal }) =>
    s.nn.scaledDotProductAttention(q as Tensor, k as Tensor, v as Tensor, {
      causal: causal === true,
      ...(mask ? { mask } : {}),
    }),
  softmax: ([x], { axis }) => (x as Tensor).softmax(int(axis)),
  log_softmax: ([x], { axis }) => (x as Tensor).logSoftmax(int(axis)),
  layer_norm: ([x, w, b], { epsilon }) => {
    const centred = (x as Tensor).sub((x as Tensor).mean(-1, { keepDims: true }));
    const scale = (x as Tensor).variance(-1, { keepDims: true }).add(int(epsilon)).rsqrt();
    return centred
      .mul(scale)
      .mul(w as Tensor)
      .add(b as Tensor);
  },
  rms_norm: ([x, w], { epsilon }) => {
    const scale = (x as Tensor).square().mean(-1, { keepDims: true }).add(int(epsilon)).rsqrt();
    return (x as Tensor).mul(scale).mul(w as Tensor);
  },
  cross_entropy: ([x, y], { ignoreIndex }) =>
    crossEntropy(x as Tensor, y as Tensor, ignoreIndex === undefined ? undefined : int(ignoreIndex)),
  mse_loss: two((a, b) => a.sub(b).square().mean()),
  linear: ([x, w, b]) => {
    const product = s.matmul(x as Tensor, (w as Tensor).transpose());
    return b ? product.add(b) : product;
  },
};

const sliced = (x: Tensor, starts: readonly number[], stops: readonly number[], steps: readonly number[]): Tensor =>
  x.at(...starts.map((start, a) => s.slice(start, stops[a], steps[a])));

/** A view of a stored tensor. */
export function viewed(x: Tensor, views: readonly View[] = []): Tensor {
  let y = x;
  for (const v of views) {
    if (v.op === "permute") y = y.transpose(v.axes);
    else if (v.op === "expand") y = y.broadcast(v.shape);
    else y = sliced(y, v.starts, v.stops, v.steps);
  }
  return y;
}
