/** For tests and benchmarks: kernels run on an opened CPU device, with numbers in and out. Guard bytes around each output
 *  show a store that missed. */

import {
  byteSize,
  type Device,
  type DType,
  type Fn,
  fromBf16,
  fromF16,
  KernelError,
  known,
  type Node,
  tensorTypeOf,
  toBf16,
  toF16,
} from "sinan/south";
import { render } from "./render.ts";

const guard = 64;
const filler = 0xa5;

export function encode(dtype: DType, values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(byteSize(dtype, values.length));
  const view = new DataView(bytes.buffer);
  const size = byteSize(dtype, 1);
  values.forEach((x, i) => {
    const at = i * size;
    if (dtype === "f32") view.setFloat32(at, x, true);
    else if (dtype === "f64") view.setFloat64(at, x, true);
    else if (dtype === "i64") view.setBigInt64(at, BigInt(x), true);
    else if (dtype === "f16") view.setUint16(at, toF16(x), true);
    else if (dtype === "bf16") view.setUint16(at, toBf16(x), true);
    else if (size === 4) view.setInt32(at, x, true);
    else view.setUint8(at, x);
  });
  return bytes;
}

export function decode(dtype: DType, bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = byteSize(dtype, 1);
  return Array.from({ length: bytes.length / size }, (_, i) => {
    const at = i * size;
    if (dtype === "f32") return view.getFloat32(at, true);
    if (dtype === "f64") return view.getFloat64(at, true);
    if (dtype === "i64") return Number(view.getBigInt64(at, true));
    if (dtype === "f16") return fromF16(view.getUint16(at, true));
    if (dtype === "bf16") return fromBf16(view.getUint16(at, true));
    if (dtype === "i32") return view.getInt32(at, true);
    return size === 4 ? view.getUint32(at, true) : view.getUint8(at);
  });
}

const isScalar = (p: Node): boolean => tensorTypeOf(p).space === "host";
let clock = 0n;

/** Runs a kernel once.
 *  @param inputs   numbers for each input buffer, or bytes as they are
 *  @param fused    whether a multiply-add may be one rounding, where the device has it
 *  @returns the bytes of the outputs
 *  @throws KernelError if a byte beside an output changed */
export async function runBytes(
  device: Device,
  kernel: Fn,
  inputs: readonly (readonly number[] | Uint8Array)[],
  scalars: readonly number[] = [],
  fused = true,
): Promise<Uint8Array[]> {
  const features = device.hardware.features.filter((f) => fused || f !== "relaxed-madd");
  const artifact = render(kernel, { features }, { check: true });
  const executable = await device.load(artifact);
  const buffers = kernel.params.filter((p) => !isScalar(p));
  const regions = buffers.map((p, i) => {
    const { dtype, dims } = tensorTypeOf(p);
    const bytes = byteSize(dtype, known(dims[0] ?? 1, "a buffer"));
    const memory = device.alloc(bytes + 2 * guard, "device");
    const given = inputs[i];
    const view = memory.view?.() ?? new Uint8Array();
    view.fill(filler);
    if (given) view.set(given instanceof Uint8Array ? given : encode(dtype, given), guard);
    return { memory, offset: guard, bytes };
  });
  const scratch =
    artifact.scratchBytes > 0
      ? [{ memory: device.alloc(artifact.scratchBytes, "device"), offset: 0, bytes: artifact.scratchBytes }]
      : [];
  const signal = { timeline: 0, value: ++clock };
  device.submit("compute", [{ kind: "launch", executable, regions: [...regions, ...scratch], scalars }], [], signal);
  await device.wait(signal);
  const outputs = regions.slice(inputs.length).map(({ memory, bytes }) => {
    const view = memory.view?.() ?? new Uint8Array();
    if (view.subarray(0, guard).some((b) => b !== filler) || view.subarray(guard + bytes).some((b) => b !== filler))
      throw new KernelError(`${kernel.name}: bytes beside an output were written`);
    return view.slice(guard, guard + bytes);
  });
  for (const { memory } of [...regions, ...scratch]) device.free(memory);
  return outputs;
}

/** The same with numbers out. */
export async function run(
  device: Device,
  kernel: Fn,
  inputs: readonly (readonly number[] | Uint8Array)[],
  scalars: readonly number[] = [],
  fused = true,
): Promise<number[][]> {
  const outputs = await runBytes(device, kernel, inputs, scalars, fused);
  const params = kernel.params.filter((p) => !isScalar(p)).slice(inputs.length);
  return outputs.map((bytes, i) => decode(tensorTypeOf(params[i] as Node).dtype, bytes));
}
