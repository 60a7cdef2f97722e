/** The processor as benches open it, and which of its tiers computes: SINAN_CPU chooses it. */
import { device } from "sinan";

export type Tier = "cpu-wasm" | "cpu-native";

/** Makes the processor with so many threads the default device. */
export async function openCpu(threads: number): Promise<Tier> {
  const { codegens } = await device("cpu", { options: { threads } });
  return codegens[0] === "wasm-simd" ? "cpu-wasm" : "cpu-native";
}
