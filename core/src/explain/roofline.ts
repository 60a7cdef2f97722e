/** What the device can do, measured once for each: multiply-adds by a product whose operands stay in the caches, memory by adding
 *  two arrays that do not. A roofline in the sense of Williams, Waterman and Patterson 2009. */
import { matmul } from "../tensor/reduce.ts";
import { add } from "../tensor/arithmetic.ts";
import { iota } from "../tensor/create.ts";
import { jit } from "../tensor/jit.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Stream } from "../runtime/stream.ts";
import { collected } from "./collect.ts";

/** What a device can do at most, as measured on it. */
export interface Roofline {
  readonly flopsPerSecond: number;
  readonly bytesPerSecond: number;
}

const known = new WeakMap<Stream, Promise<Roofline>>();

/** Undefined on a device that does not tell what it does when. */
export async function rooflineOf(stream: Stream): Promise<Roofline | undefined> {
  const device = await stream.opened();
  if (!device.trace) return undefined;
  const measured = known.get(stream) ?? measure(stream);
  known.set(stream, measured);
  return measured;
}

const [side, length, rounds] = [384, 2 ** 23, 12] as const;

async function measure(stream: Stream): Promise<Roofline> {
  const [a, b] = [0, 1].map((axis) => iota([side, side], axis, { dtype: "f32" }).mul(1 / side)) as [Tensor, Tensor];
  const [x, y] = [1, 2].map((scale) => iota([length], 0, { dtype: "f32" }).mul(scale)) as [Tensor, Tensor];
  const flops = await best(stream, jit(matmul, { name: "peak" }), a, b);
  const bytes = await best(stream, jit(add, { name: "bandwidth" }), x, y);
  return { flopsPerSecond: (2 * side ** 3) / flops, bytesPerSecond: (3 * 4 * length) / bytes };
}

/** The least seconds of the one kernel that a call is. */
async function best(stream: Stream, f: (a: Tensor, b: Tensor) => Tensor, a: Tensor, b: Tensor): Promise<number> {
  const run = async (): Promise<void> => {
    const c = f(a, b);
    await c.reshape([-1]).at(0).item();
    c.dispose();
  };
  // The first rounds compile, and warm up.
  for (let i = 0; i < 3; i++) await run();
  const { times } = await collected(stream, async () => {
    for (let i = 0; i < rounds; i++) await run();
  });
  const longest = [...times.values()].sort((p, q) => q.total - p.total)[0];
  return longest ? longest.least / 1000 : Number.POSITIVE_INFINITY;
}
