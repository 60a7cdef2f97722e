/** The processor as benches open it, in the fastest tier that there is or that SINAN_CPU names. */
import { changeTier, device } from "sinan";

/** As figures name it. */
export type Tier = "cpu-wasm" | "cpu-native";

/** Makes the processor with so many threads the default device. */
export async function openCpu(threads: number): Promise<Tier> {
  await device("cpu", { options: { threads } });
  const { tier } = await changeTier("auto");
  return tier === "native" ? "cpu-native" : "cpu-wasm";
}
