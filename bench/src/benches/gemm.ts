/** Products of f32 matrices through the public API: square ones, and those of a training step of `llama-bench`, forward and both
 *  ways back. A jitted matmul of resident operands, each result read and disposed of. Where WebAssembly computes also what one
 *  thread could reach, a loop of nothing but multiply-adds (`madd`), measured between the products. */
import { jit, key, matmul, random, type Tensor, transpose } from "sinan";
import { beside, type Figure } from "../figure.ts";
import { maddFlops, maddLoop } from "@sinan/cpu/bounds";
import type { Cases } from "../main.ts";
import { type Pair, summary } from "../mean.ts";
import { median, times } from "../measure.ts";
import { gemmPeers, type Product } from "../peer-programs.ts";
import { ofCase } from "../peers.ts";
import { openCpu } from "../processor.ts";

const squares = [512, 1024, 2048].map((n): Product => ({ name: String(n), m: n, n, k: n, layout: "nn" }));

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
    { name, m: tokens, n: to, k: from, layout: "nt" },
    { name: `${name}/dx`, m: tokens, n: from, k: to, layout: "nn" },
    { name: `${name}/dw`, m: to, n: from, k: tokens, layout: "tn" },
  ];
});

const products = {
  nn: matmul,
  nt: (a: Tensor, b: Tensor) => matmul(a, transpose(b)),
  tn: (a: Tensor, b: Tensor) => matmul(transpose(a), b),
};

/** The peers that are no programs for browsers. */
const native = new Set(["torch", "ort-node"]);

export const cases: Cases = async function* ({ threads, peers, seconds, quick }): AsyncGenerator<Figure> {
  const device = await openCpu(threads);
  const shapes = quick ? [...squares.slice(0, 2), ...ofLlama.slice(0, 3)] : [...squares, ...ofLlama];
  const measured = peers
    ? await gemmPeers(shapes, threads, { inJavaScript: device === "cpu-wasm", seconds, isQuick: quick })
    : [];
  const loop = device === "cpu-wasm" ? maddLoop() : undefined;
  const pairs: Pair[] = [];
  for (const { name, m, n, k, layout } of shapes) {
    const bound: number[] = [];
    const a = random.normal(key(1), layout === "tn" ? [k, m] : [m, k]);
    const b = random.normal(key(2), layout === "nt" ? [n, k] : [k, n]);
    const product = jit((x: Tensor, y: Tensor) => products[layout](x, y), { name });
    const taken: number[] = [];
    const run = async (): Promise<void> => {
      const c = product(a, b);
      await c.at(0, 0).item();
      c.dispose();
    };
    // In turn, as the speed of a machine drifts.
    const round = async (): Promise<void> => {
      taken.push(...(await times(run, { warmup: 0, atLeast: 1, seconds: 0.02 })));
      if (loop) bound.push(...(await times(() => repeat(loop), { warmup: 0, atLeast: 1, seconds: 0 })));
    };
    await run();
    await times(round, { seconds });
    for (const operand of [a, b]) operand.dispose();
    const value = (2 * m * n * k) / median(taken) / 1e9;
    const theirs = ofCase(measured, name);
    pairs.push({ name, ours: value, theirs: theirs.filter((peer) => native.has(peer.name)) });
    const most = (calls * maddFlops) / (loop ? median(bound) : 1) / 1e9;
    yield* beside({ bench: "gemm", case: name, device, threads, value, unit: "GFLOP/s" }, [
      ...(loop ? [{ name: "madd", version: "1 thread", value: most }] : []),
      ...theirs,
    ]);
  }
  const of = { bench: "gemm", device, threads, unit: "GFLOP/s" } as const;
  yield* summary(of, pairs, { mean: "geometric-mean", least: "least", best: "best-native" });
};

/** Calls of the loop in a few milliseconds. */
const calls = 10_000;
const repeat = (loop: () => void): void => {
  for (let i = 0; i < calls; i++) loop();
};
