/** The place of arithmetic on narrow dtypes (`carriers.ts`), which a device adds with `computeNarrow`. A small page does without: it
 *  loads, stores and casts them. */
import { VerifyError } from "../errors.ts";
import { carrierOf } from "../ir/dtype.ts";
import { type Fn, topological } from "../ir/fn.ts";
import { dtypeOf, type Node, type Op } from "../ir/node.ts";
import { isTuple } from "../ir/type.ts";

let carriers: ((kernel: Fn) => Fn) | undefined;

export function addCarriers(compute: (kernel: Fn) => Fn): void {
  carriers = compute;
}

export const isNarrow = (n: Node): boolean => !isTuple(n.type) && carrierOf(n.type.dtype) !== n.type.dtype;
const kept: ReadonlySet<Op> = new Set<Op>([
  "load",
  "store",
  "param",
  "scratch",
  "cast",
  "bitcast",
  "kernel",
  "loop",
  "nest",
]);
export const isNarrowWork = (n: Node): boolean => !kept.has(n.op) && [n, ...n.src].some(isNarrow);

/** The kernel with narrow dtypes at loads, stores and casts alone.
 *  @throws VerifyError where it computes in them and nothing was added that does */
export function carried(kernel: Fn): Fn {
  const work = topological(kernel.results).find(isNarrowWork);
  if (!work) return kernel;
  if (carriers) return carriers(kernel);
  const narrow = [work, ...work.src].find(isNarrow) ?? work;
  throw new VerifyError(
    `${kernel.name}: ${work.op} computes in ${dtypeOf(narrow)}, which is only loaded, stored and cast here`,
    {
      hint: "cast to i32 or f32 first, or import the whole package of the device",
    },
  );
}
