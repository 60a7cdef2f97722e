/** Products of matrices through the public API: square ones, and those of a training step of `llama-bench`, forward and both ways back,
 *  in f32; in the native tier some of bf16 and of integers of 8 bits, with sums of 32, too (`bf16-…`, `i8-…`). A jitted matmul of resident operands, each result read and disposed of, in turn
 *  with the peers. Where WebAssembly computes also what one thread could reach, a loop of nothing but multiply-adds (`madd`), which has turns
 *  of its own. */
import { jit, key, matmul, random, type Tensor, transpose } from "sinan";
import type { CalledPeer } from "../called-peer.ts";
import { beside, type Figure } from "../figure.ts";
import { maddFlops, maddLoop } from "@sinan/cpu/bounds";
import { inTurn } from "../in-turn.ts";
import type { Cases } from "../main.ts";
import { type Pair, summary } from "../mean.ts";
import { times } from "../measure.ts";
import { gemmPeers, type Product } from "../peer-programs.ts";
import { openCpu } from "../processor.ts";

const dtype = "f32";
const squares = [512, 1024, 2048].map((n): Product => ({ name: String(n), m: n, n, k: n, layout: "nn", dtype }));

/** Tokens of a step; the widths of the model's projections, out of and into the residual stream, and of its head. */
const tokens = 2048;
const projections = [
  [256, 256],
  [704, 256],
  [256, 704],
  [4096, 256],
] as const;

/** y = x wᵀ; dx = dy w; dw = dyᵀ x. */
const ofLlama = projections.flatMap(([to, from]): Product[] => {
  const name = `${from}-to-${to}`;
  return [
    { name, m: tokens, n: to, k: from, layout: "nt", dtype },
    { name: `${name}/dx`, m: tokens, n: from, k: to, layout: "nn", dtype },
    { name: `${name}/dw`, m: to, n: from, k: tokens, layout: "tn", dtype },
  ];
});

const products = {
  nn: matmul,
  nt: (a: Tensor, b: Tensor) => matmul(a, transpose(b)),
  tn: (a: Tensor, b: Tensor) => matmul(transpose(a), b),
};

/** Of 7 billion weights, which are more than the nearer caches hold, and of a prompt. */
const large = (["nt", "nn"] as const).map(
  (layout): Product => ({ name: `4096-to-4096/${layout}`, m: 128, n: 4096, k: 4096, layout, dtype }),
);

const inFewBits = (["bf16", "i8"] as const).flatMap((narrow) =>
  [...squares, ...ofLlama.slice(3, 6), ...large].map(
    (of): Product => ({ ...of, name: `${narrow}-${of.name}`, dtype: narrow }),
  ),
);

/** The peers that are no programs for browsers. */
const native = new Set(["torch", "ort-node"]);

/** Normal numbers as integers of 8 bits: so many times as large, and no larger than the largest. */
const BYTES = 40;
const limit = 127;

/** Of the seconds asked for, what each product takes of each of us. */
const share = 1 / 2;

export const cases: Cases = async function* ({ threads, peers, seconds, quick }): AsyncGenerator<Figure> {
  const device = await openCpu(threads);
  const inJavaScript = device === "cpu-wasm";
  const inFull = quick ? [...squares.slice(0, 2), ...ofLlama.slice(0, 3)] : [...squares, ...ofLlama];
  const shapes = [...inFull, ...(inJavaScript || quick ? [] : inFewBits)];
  const called = peers ? await gemmPeers(shapes, threads, { inJavaScript, isQuick: quick }) : [];
  const all = inJavaScript ? [...called, bound()] : called;
  const pairs: Record<Product["dtype"], Pair[]> = { f32: [], bf16: [], i8: [] };
  for (const { name, m, n, k, layout, dtype } of shapes) {
    const scale = dtype === "i8" ? BYTES : 1;
    const a = random
      .normal(key(1), layout === "tn" ? [k, m] : [m, k])
      .mul(scale)
      .clip(-limit, limit)
      .cast(dtype);
    const b = random
      .normal(key(2), layout === "nt" ? [n, k] : [k, n])
      .mul(scale)
      .clip(-limit, limit)
      .cast(dtype);
    const wide = (x: Tensor): Tensor => (dtype === "i8" ? x.cast("i32") : x);
    const product = jit((x: Tensor, y: Tensor) => products[layout](wide(x), wide(y)), { name });
    const run = async (): Promise<void> => {
      const c = product(a, b);
      await c.at(0, 0).item();
      c.dispose();
    };
    await run();
    const { ours, theirs } = await inTurn(run, all, name, { seconds: seconds * share, threads });
    for (const operand of [a, b]) operand.dispose();
    const speed = (taken: number, flops = 2 * m * n * k): number => flops / taken / 1e9;
    const figures = theirs.map(({ name: of, version, value }) => ({
      name: of,
      version,
      value: of === "madd" ? speed(value, calls * maddFlops) : speed(value),
    }));
    pairs[dtype].push({ name, ours: speed(ours), theirs: figures.filter((peer) => native.has(peer.name)) });
    yield* beside({ bench: "gemm", case: name, device, threads, value: speed(ours), unit: "GFLOP/s" }, figures);
  }
  for (const peer of called) peer.close();
  const of = { bench: "gemm", device, threads, unit: "GFLOP/s" } as const;
  yield* summary(of, pairs.f32, { mean: "geometric-mean", least: "least", best: "best-native" });
  for (const narrow of ["bf16", "i8"] as const)
    yield* summary(of, pairs[narrow], {
      mean: `geometric-mean-${narrow}`,
      least: `least-${narrow}`,
      best: "best-native",
    });
};

/** Calls of the loop in a few milliseconds. */
const calls = 10_000;

/** The loop, as one that takes turns. */
function bound(): CalledPeer {
  const loop = maddLoop();
  const run = (): void => {
    for (let i = 0; i < calls; i++) loop();
  };
  return {
    name: "madd",
    version: "1 thread",
    turn: async (_, seconds) => ({ times: await times(run, { warmup: 0, atLeast: 1, seconds }), check: Number.NaN }),
    close: () => {},
  };
}
