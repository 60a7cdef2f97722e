/** What chains on one 4 MB array take in memory beyond input and output, in MB: 24 element-wise ops jitted and not, their gradient,
 *  24 softmaxes of rows. */
import { cold } from "../cold.ts";
import { beside, type Figure } from "../figure.ts";
import type { Cases } from "../main.ts";
import { memoryPeers } from "../peer-programs.ts";
import { ofCase } from "../peers.ts";
import type { Tier } from "../processor.ts";

/** Our cases, and the peers' that they are set beside. */
const rows = [
  ["chain", "chain", "jit"],
  ["chain-lazy", "chain", "lazy"],
  ["chain-grad", "chain-grad", "jit"],
  ["softmax-chain", "softmax-chain", "jit"],
] as const;

export const cases: Cases = async function* ({ peers }): AsyncGenerator<Figure> {
  const measured = peers ? await memoryPeers([...new Set(rows.map(([, name]) => name))]) : [];
  for (const [row, name, mode] of rows) {
    const { device, bytes } = await cold<{ device: Tier; bytes: number }>("bench/src/memory-case.ts", name, mode);
    const value = bytes / 2 ** 20;
    yield* beside({ bench: "memory", case: row, device, threads: 1, value, unit: "MB" }, ofCase(measured, name));
  }
};
