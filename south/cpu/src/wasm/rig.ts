/** For tests and benchmarks: kernels run on an opened CPU device, with numbers in and out. Guard bytes around each output
 *  show a store that missed. */

import {
  byteSize,
  decode,
  type Device,
  type DType,
  encode,
  type Fn,
  KernelError,
  known,
  type Node,
  tensorTypeOf,
  valueOf,
} from "sinan/south";
import { stackChecker } from "./checker.ts";
import { render } from "./render.ts";

const guard = 64;
const filler = 0xa5;

/** The numbers that bytes hold; those of bool as they are, so that anything but 0 and 1 is seen. */
const numbers = (dtype: DType, bytes: Uint8Array): number[] =>
  Array.from(decode(dtype === "bool" ? "u8" : dtype, bytes, [bytes.length / byteSize(dtype, 1)]).data, Number);

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
  const artifact = render(
    kernel,
    { features, sharedMemory: device.hardware.sharedMemory === true },
    { check: stackChecker },
  );
  const executable = await device.load(artifact);
  const buffers = kernel.params.filter((p) => !isScalar(p));
  const regions = buffers.map((p, i) => {
    const { dtype, dims } = tensorTypeOf(p);
    const bytes = byteSize(dtype, known(dims[0] ?? 1, "a buffer"));
    const memory = device.alloc(bytes + 2 * guard, "device");
    const given = inputs[i];
    const view = memory.view?.() ?? new Uint8Array();
    view.fill(filler);
    if (given) view.set(given instanceof Uint8Array ? given : encode(valueOf(dtype, [given.length], given)), guard);
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
  return outputs.map((bytes, i) => numbers(tensorTypeOf(params[i] as Node).dtype, bytes));
}
