/** The operations and layers that are set beside the peers', by the names of `bench/peers/ops.json`, which has their inputs. */
import { readFileSync } from "node:fs";
import {
  add,
  argmax,
  avgPool,
  concat,
  conv2d,
  cumsum,
  exp,
  log,
  logSoftmax,
  logSumExp,
  matmul,
  max,
  maximum,
  maxPool,
  mean,
  mul,
  nn,
  pad,
  pow,
  sin,
  softmax,
  sort,
  sqrt,
  square,
  sum,
  take,
  tanh,
  type Tensor,
  tensor,
  transpose,
  variance,
  where,
} from "sinan";

const { gelu, relu, sigmoid, silu, functional } = nn;

type Operation = (...inputs: readonly Tensor[]) => Tensor;

const one =
  (f: (x: Tensor) => Tensor): Operation =>
  (...[x]) =>
    f(x as Tensor);
const two =
  (f: (x: Tensor, y: Tensor) => Tensor): Operation =>
  (...[x, y]) =>
    f(x as Tensor, y as Tensor);
const three =
  (f: (x: Tensor, y: Tensor, z: Tensor) => Tensor): Operation =>
  (...[x, y, z]) =>
    f(x as Tensor, y as Tensor, z as Tensor);

/** Images are [batch, channels, height, width]. */
const channels = (x: Tensor): Tensor => x.reshape([-1, 1, 1]);
const overImages = [0, 2, 3] as const;

export const operations: Readonly<Record<string, Operation>> = {
  add: two(add),
  mul: two(mul),
  maximum: two(maximum),
  where: three((x, y, z) => where(x.greater(0), y, z)),
  exp: one(exp),
  sin: one(sin),
  tanh: one(tanh),
  sigmoid: one(sigmoid),
  relu: one(relu),
  gelu: one(gelu),
  silu: one(silu),
  square: one(square),
  log: one(log),
  sqrt: one(sqrt),
  pow: two(pow),
  bias: two(add),
  "scale-rows": two(mul),
  sum: one((x) => sum(x)),
  "sum-rows": one((x) => sum(x, 1)),
  "sum-columns": one((x) => sum(x, 0)),
  "mean-rows": one((x) => mean(x, 1)),
  "max-rows": one((x) => max(x, 1)),
  "variance-rows": one((x) => variance(x, 1)),
  "argmax-rows": one((x) => argmax(x, 1)),
  transpose: one((x) => transpose(x)),
  heads: one((x) => transpose(x, [0, 2, 1, 3])),
  concat: two((x, y) => concat([x, y], 1)),
  slice: one((x) => x.narrow(1, 256, 512)),
  pad: one((x) =>
    pad(x, [
      [1, 1],
      [1, 1],
    ]),
  ),
  cumsum: one((x) => cumsum(x, 1)),
  sort: one((x) => sort(x, 1).values),
  embedding: two((weight, ids) => take(weight, ids)),
  softmax: one((x) => softmax(x)),
  "log-softmax": one((x) => logSoftmax(x)),
  logsumexp: one((x) => logSumExp(x, -1)),
  "cross-entropy": two((x, ids) => nn.crossEntropy(x, ids)),
  "layer-norm": three((x, weight, bias) => functional.layerNorm(x, weight, bias)),
  "rms-norm": two((x, weight) => functional.rmsNorm(x, weight)),
  mse: two((x, y) => nn.mseLoss(x, y)),
  matmul: two(matmul),
  "matmul-transposed": two((x, weight) => functional.linear(x, weight)),
  "matmul-batched": two(matmul),
  matvec: two(matmul),
  "linear-relu": three((x, w, b) => relu(matmul(x, w).add(b))),
  mlp: (...[x, w, b, v, c]) =>
    matmul(gelu(matmul(x as Tensor, w as Tensor).add(b as Tensor)), v as Tensor).add(c as Tensor),
  swiglu: (...[x, gate, up, down]) =>
    matmul(silu(matmul(x as Tensor, gate as Tensor)).mul(matmul(x as Tensor, up as Tensor)), down as Tensor),
  attention: three((q, k, v) => nn.scaledDotProductAttention(q, k, v)),
  conv: two((x, w) => conv2d(x, w, { padding: "same" })),
  "conv-strided": two((x, w) => conv2d(x, w, { stride: 2, padding: 1 })),
  "max-pool": one((x) => maxPool(x, 2)),
  "average-pool": one((x) => avgPool(x, 2)),
  "batch-norm": three((x, weight, bias) => {
    const centred = x.sub(mean(x, overImages, { keepDims: true }));
    const spread = mean(square(centred), overImages, { keepDims: true });
    return centred.mul(spread.add(1e-5).rsqrt()).mul(channels(weight)).add(channels(bias));
  }),
};

interface Inputs {
  /** Shapes of the float inputs. */
  readonly inputs: readonly (readonly number[])[];
  /** The shape of the whole numbers that follow, and their bound. */
  readonly ids?: readonly number[];
  readonly below?: number;
  readonly positive?: boolean;
  readonly forwardOnly?: boolean;
}

const file = new URL("../../peers/ops.json", import.meta.url);
export const inputsOf = JSON.parse(readFileSync(file, "utf8")) as Readonly<Record<string, Inputs>>;

const size = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);

/** Numbers between −2 and 2, or above 0: those of bench/peers/ops.mjs. */
function numbers(seed: number, dims: readonly number[], isPositive: boolean): Tensor {
  const data = Float32Array.from({ length: size(dims) }, (_, i) => {
    const x = ((Math.imul(i + seed * 7919, 0x9e3779b1) >>> 0) / 2 ** 32) * 4 - 2;
    return isPositive ? Math.abs(x) + 0.1 : x;
  });
  return tensor(data, { shape: dims });
}

/** The tensors that a case is given: floats, then whole numbers. */
export function tensorsOf({ inputs, ids, below = 1, positive = false }: Inputs): { floats: Tensor[]; whole: Tensor[] } {
  const floats = inputs.map((dims, i) => numbers(i + 1, dims, positive));
  if (!ids) return { floats, whole: [] };
  const places = Int32Array.from({ length: size(ids) }, (_, i) => (i * 7919) % below);
  return { floats, whole: [tensor(places, { shape: ids })] };
}
