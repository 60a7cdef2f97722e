/** What a call costs, known before it runs: operations and bytes by the op table, and the least time that the device could need. */
import { ArgumentError } from "../errors.ts";
import { callOf } from "../tensor/jit.ts";
import { kernelsOf } from "./kernels.ts";
import { rooflineOf } from "./roofline.ts";

/** Operations and bytes of a kernel. */
export interface Cost {
  /** Operations of one call, as the op table counts them. */
  readonly flops: number;
  /** Bytes that its kernels read and write. */
  readonly bytes: number;
  /** What it takes at least, by the roofline of each kernel; undefined on a device that does not tell when it ran what. */
  readonly seconds: number | undefined;
}

/** The cost of a call of a jitted function. The call is compiled, if it is not yet, and not run; the first time on a device, what the
 *  device can do is measured, which takes about a tenth of a second.
 *
 *  @param f  what `jit` gave
 *  @throws ArgumentError (as a rejection) for another function; what compiling it throws
 *  @example const { flops } = await cost(jit((x: Tensor, y: Tensor) => x.matmul(y)), zeros([64, 64]), zeros([64, 64]));   // 524288 */
export async function cost<A extends readonly unknown[]>(f: (...args: A) => unknown, ...args: A): Promise<Cost> {
  const call = callOf.get(f);
  if (!call) throw new ArgumentError("cost: expected what jit() gave, whose calls have a plan");
  const { program } = call(args);
  const kernels = kernelsOf(await program.loaded());
  const peak = await rooflineOf(program.stream);
  const sum = (of: (kernel: (typeof kernels)[number]) => number): number =>
    kernels.reduce((total, kernel) => total + kernel.count * of(kernel), 0);
  return {
    flops: sum(({ flops }) => flops),
    bytes: sum(({ bytes }) => bytes),
    seconds: peak && sum(({ flops, bytes }) => Math.max(flops / peak.flopsPerSecond, bytes / peak.bytesPerSecond)),
  };
}
