/** What a jitted call asks of memory, before it runs. */
import { type Footprint, footprintOf } from "../compiler/footprint.ts";
import { ArgumentError } from "../errors.ts";
import { callOf } from "./jit.ts";

/** The memory that a call of a jitted function takes: its peak, and who holds it. The call is compiled, if it is not yet, and not run.
 *
 *  @param f  what `jit` gave
 *  @throws ArgumentError (as a rejection) for another function; what compiling it throws
 *  @example const step = jit((x: Tensor) => x.exp().sum());
 *  console.log((await footprint(step, zeros([1024]))).peakBytes);   // → 4160 */
export async function footprint<A extends readonly unknown[]>(
  f: (...args: A) => unknown,
  ...args: A
): Promise<Footprint> {
  const call = callOf.get(f);
  if (!call) throw new ArgumentError("footprint: expected what jit() gave, whose calls have a plan");
  return footprintOf(await call(args).program.plan());
}
