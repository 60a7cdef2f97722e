/** The code generator of the native tier: a scheduled kernel becomes C functions, one for each of its parts, and kernels are joined
 *  in translation units. */
import { type Fn, hasMatrix, type HardwareModel, type KernelText, renderCLike, unitOf } from "sinan/south";
import { c, cWithVectors } from "./c.ts";

/** A kernel as C, with vectors of as many 32-bit lanes as the hardware's.
 *  @throws VerifyError if the function is not a kernel, or holds an op or dtype that has no rule here */
export function renderNative(kernel: Fn, hardware: Pick<HardwareModel, "features" | "compute">): KernelText {
  const lanes = hardware.compute.find((u) => u.unit === "vector" && u.dtype === "f32")?.lanes ?? 1;
  const language = lanes > 1 ? cWithVectors(4 * lanes) : c;
  return renderCLike(kernel, language, { fused: hardware.features.includes("fma"), matrix: hasMatrix(hardware) });
}

/** One translation unit of kernels, each of which is in it once. */
export const nativeUnit = (kernels: readonly KernelText[]): string => unitOf(kernels, c);
