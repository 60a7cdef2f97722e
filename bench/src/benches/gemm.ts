/** Square f32 products through the public API: a jitted matmul of resident operands, its result in fresh memory each time. */
import { device, jit, key, matmul, random } from "sinan";
import { beside, type Figure } from "../figure.ts";
import type { Cases } from "../main.ts";
import { median, times } from "../measure.ts";
import { gemmPeers, ofCase } from "../peers.ts";

const sizes = [512, 1024, 2048] as const;

export const cases: Cases = async function* ({ threads, peers, seconds }): AsyncGenerator<Figure> {
  await device("cpu", { options: { threads } });
  const measured = peers ? await gemmPeers(sizes, threads) : [];
  const product = jit(matmul);
  for (const n of sizes) {
    const [a, b] = [random.normal(key(1), [n, n]), random.normal(key(2), [n, n])];
    const run = async (): Promise<void> => {
      const c = product(a, b);
      await c.at(0, 0).item();
      c.dispose();
    };
    const taken = median(await times(run, { seconds }));
    const figure = {
      bench: "gemm",
      case: String(n),
      device: "cpu-wasm",
      threads,
      value: (2 * n ** 3) / taken / 1e9,
      unit: "GFLOP/s",
    } as const;
    yield* beside(figure, ofCase(measured, String(n)));
  }
};
