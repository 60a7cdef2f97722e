/** The code generator of the native tier. An artifact is the kernel's functions as JSON: kernels that are loaded together become one
 *  translation unit, in which what they all need stands once. */

import {
  type Artifact,
  type Codegen,
  DeviceError,
  expandFused,
  type KernelText,
  shareTiles,
  tensorTypeOf,
  wideTiles,
} from "sinan/south";
import { frameImages } from "sinan/frames";
import { renderNative } from "./render.ts";

export const codegenName = "c";

frameImages();
wideTiles();

/** A kernel as the device is given it. */
export interface NativeCode {
  readonly kernel: KernelText;
  /** How many regions and scalars a launch takes. */
  readonly buffers: number;
  readonly scalars: number;
}

/** @throws DeviceError if it is none of this code generator */
export function codeOf({ codegen, name, code }: Artifact): NativeCode {
  if (codegen !== codegenName || typeof code !== "string")
    throw new DeviceError(
      `cpu: kernel ${name} is code of ${codegen}; the native tier takes the text of ${codegenName}`,
    );
  return JSON.parse(code) as NativeCode;
}

/** Kernels as C with vector extensions. */
export const cCodegen: Codegen = {
  name: codegenName,
  level: "loops",
  share: (kernel, { features }) => {
    const shared = shareTiles(kernel);
    return features.includes("fma") ? expandFused(shared, features.includes("avx512f")) : shared;
  },
  render(fn, hardware) {
    const kernel = renderNative(fn, hardware);
    const scalars = fn.params.filter((p) => tensorTypeOf(p).space === "host" && tensorTypeOf(p).dims.length === 0);
    const buffers = fn.params.length - scalars.length + (kernel.scratchBytes > 0 ? 1 : 0);
    const code: NativeCode = { kernel, buffers, scalars: scalars.length };
    return { codegen: codegenName, name: fn.name, code: JSON.stringify(code), scratchBytes: kernel.scratchBytes };
  },
};
