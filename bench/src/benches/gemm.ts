/** Square f32 products through the public API: a jitted matmul of resident operands, each result read and disposed of; and
 *  what one thread could reach, a loop of nothing but multiply-adds (`madd`), measured between the products. */
import { device, jit, key, matmul, random } from "sinan";
import { beside, type Figure } from "../figure.ts";
import { maddFlops, maddLoop } from "@sinan/cpu/bounds";
import type { Cases } from "../main.ts";
import { median, times } from "../measure.ts";
import { gemmPeers, ofCase } from "../peers.ts";

const sizes = [512, 1024, 2048] as const;

export const cases: Cases = async function* ({ threads, peers, seconds }): AsyncGenerator<Figure> {
  await device("cpu", { options: { threads } });
  const measured = peers ? await gemmPeers(sizes, threads) : [];
  const product = jit(matmul);
  const loop = maddLoop();
  for (const n of sizes) {
    const bound: number[] = [];
    const [a, b] = [random.normal(key(1), [n, n]), random.normal(key(2), [n, n])];
    const taken: number[] = [];
    const run = async (): Promise<void> => {
      const c = product(a, b);
      await c.at(0, 0).item();
      c.dispose();
    };
    // In turn, as the speed of a machine drifts.
    const round = async (): Promise<void> => {
      taken.push(...(await times(run, { warmup: 0, atLeast: 1, seconds: 0.02 })));
      bound.push(...(await times(() => repeat(loop), { warmup: 0, atLeast: 1, seconds: 0 })));
    };
    await run();
    await times(round, { seconds });
    const figure = {
      bench: "gemm",
      case: String(n),
      device: "cpu-wasm",
      threads,
      value: (2 * n ** 3) / median(taken) / 1e9,
      unit: "GFLOP/s",
    } as const;
    const most = (calls * maddFlops) / median(bound) / 1e9;
    yield* beside(figure, [{ name: "madd", version: "1 thread", value: most }, ...ofCase(measured, String(n))]);
  }
};

/** Calls of the loop in a few milliseconds. */
const calls = 10_000;
const repeat = (loop: () => void): void => {
  for (let i = 0; i < calls; i++) loop();
};
