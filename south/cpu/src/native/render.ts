/** The code generator of the native tier: a scheduled kernel becomes C functions, one for each of its parts, and kernels are joined
 *  in translation units. */
import { type Fn, type HardwareModel, type KernelText, renderCLike, unitOf } from "sinan/south";
import { c } from "./c.ts";

/** A kernel as C.
 *  @throws VerifyError if the function is not a kernel, or holds an op or dtype that has no rule here */
export const renderNative = (kernel: Fn, hardware: Pick<HardwareModel, "features">): KernelText =>
  renderCLike(kernel, c, { fused: hardware.features.includes("fma") });

/** One translation unit of kernels, each of which is in it once. */
export const nativeUnit = (kernels: readonly KernelText[]): string => unitOf(kernels, c);
