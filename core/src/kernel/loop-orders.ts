/** Orders of loops that are speed alone, and change no bit: nests cut where masks change, rows of a recurrence side by side, transposed copies a cache line at a
 *  time. Whoever wants them calls `orderLoops`. */
import { ScheduleError } from "../errors.ts";
import { isFloat } from "../ir/dtype.ts";
import { topological } from "../ir/fn.ts";
import { dtypeOf, type Node } from "../ir/node.ts";
import { affine } from "../ops/indexing.ts";
import { placeOf } from "./c-like/turned.ts";
import { addLoopOrders, strideOf } from "./heuristics.ts";
import { type NestNode, type RangeNode, storesOf } from "./nests.ts";
import { lanesOf, outputIds, type Plan, SHORT } from "./plan.ts";
import { apply } from "./schedule.ts";
import { isWide } from "./products/tile-size.ts";

/** From here on loops are put in these orders where that is worth it. */
export const orderLoops = (): void => addLoopOrders({ cut, recurrence, across });

/** Cuts a nest where a condition on one output range changes, so that each part needs no mask (the parts of a concatenation,
 *  the border of a padding). */
function cutAtMasks(plan: Plan, i: number): boolean {
  const nest = plan.nest(i);
  const outputs = new Set(outputIds(nest));
  for (const n of topological(nest.src)) {
    const cut = n.op === "lt" ? boundary(n.src[0] as Node, n.src[1] as Node) : undefined;
    if (cut && isWrittenOut(plan, i, cut.range)) continue;
    if (cut && outputs.has(cut.range.attr.id) && cut.at > 0 && cut.at < cut.range.attr.extent)
      if (plan.tries({ option: "peel", nest: i, range: cut.range.attr.id, at: cut.at })) return true;
  }
  return false;
}

/** Whether a nest computes nothing: what it stores lies in memory, or is a constant. */
const isCopy = (nest: NestNode): boolean =>
  topological(
    storesOf(nest).map((s) => s.src[2] as Node),
    (n) => n.op !== "load",
  ).every((n) => n.op === "load" || n.op === "where" || !isFloat(dtypeOf(n)) || n.src.length === 0);

/** Whether the innermost loop is so short that it will be written out, which leaves no condition on it. What is computed has vectors. */
const isWrittenOut = (plan: Plan, i: number, { attr }: RangeNode): boolean =>
  isWide(plan.hardware, lanesOf(plan, i)) &&
  isCopy(plan.nest(i)) &&
  attr.id === outputIds(plan.nest(i)).at(-1) &&
  attr.extent < Math.min(SHORT, lanesOf(plan, i)) &&
  attr.extent !== SHORT / 2;

/** The iteration of a range from which on `a < b` has its other value. */
function boundary(a: Node, b: Node): { readonly range: RangeNode; readonly at: number } | undefined {
  const [sum, constant, below] = b.op === "const" ? [a, b, true] : [b, a, false];
  if (constant.op !== "const" || dtypeOf(constant) !== "i32") return undefined;
  const { terms, constant: offset } = affine(sum);
  const [only] = terms;
  if (terms.size !== 1 || only?.[0].op !== "range" || Math.abs(only[1]) !== 1) return undefined;
  const limit = constant.attr.value - offset;
  // r < limit, limit < r, −r < limit, limit < −r
  const at = only[1] === 1 ? (below ? limit : limit + 1) : below ? 1 - limit : -limit;
  return { range: only[0], at };
}

/** The most nests into which masks may cut a kernel. */
const MOST_CUTS = 12;

const cut = (plan: Plan, i: number): boolean => plan.count() < MOST_CUTS && cutAtMasks(plan, i);

/** Elements of a cache line. */
const LINE = 16;

/** The output range along which a load, or a word of two, is contiguous that makes long steps along the last one. */
function transposed(plan: Plan, i: number, last: number, line: number): number | undefined {
  const along = plan.range(i, last);
  const far = topological(plan.nest(i).src)
    .map(placeOf)
    .filter(({ first }) => first && Math.abs(strideOf(first.src[1] as Node, along) ?? 0) >= LINE);
  return outputIds(plan.nest(i)).find((id) => {
    const range = plan.range(i, id);
    return (
      id !== last &&
      range.attr.extent % line === 0 &&
      far.some(({ first, size }) => strideOf(first?.src[1] as Node, range) === size)
    );
  });
}

/** Runs a line's worth of iterations of an outer range inside of all other loops, so that what they read of one cache line is read
 *  while it is there. Returns that loop. */
function runInside(plan: Plan, i: number, range: number, line: number): number | undefined {
  if (!plan.tries({ option: "split", nest: i, range, factor: line })) return undefined;
  const inner = plan.newest(i);
  const order = plan.nest(i).attr.order.filter((id) => id !== inner);
  const at = order.findIndex((id) => plan.range(i, id).attr.kind !== "loop");
  plan.tries({ option: "reorder", nest: i, order: order.toSpliced(at < 0 ? order.length : at, 0, inner) });
  return inner;
}

/** Blocks of rows are turned after the loop along them has vectors. */
function across(plan: Plan, i: number, last: number, lanes: number): (() => void) | undefined {
  const turns = isWide(plan.hardware, lanes);
  const line = turns ? lanes : LINE;
  const range = transposed(plan, i, last, line);
  if (range === undefined) return undefined;
  return () => {
    const inner = runInside(plan, i, range, line);
    // As many columns as there are lanes are a block that is turned in registers.
    if (turns && inner !== undefined) plan.tries({ option: "unroll", nest: i, range: inner });
  };
}

/** Whether the range's iterations may run in any order. */
function isFree(plan: Plan, i: number, range: number): boolean {
  try {
    apply(plan.kernel(), { option: "parallel", nest: i, range });
    return true;
  } catch (error) {
    if (error instanceof ScheduleError) return false;
    throw error;
  }
}

/** Rows of a recurrence that run side by side: each is a chain of operations that wait for each other. */
const CHAINS = 8;

function recurrence(plan: Plan, i: number, last: number): number | undefined {
  if (isFree(plan, i, last)) return undefined;
  const rows = outputIds(plan.nest(i)).findLast((id) => plan.range(i, id).attr.extent > 1 && isFree(plan, i, id));
  if (rows === undefined) return i + 1;
  const { extent } = plan.range(i, rows).attr;
  const whole = Math.floor(extent / CHAINS) * CHAINS;
  const next = whole > 0 && whole < extent && plan.peel(i, rows, whole) ? i + 2 : i + 1;
  if (whole > CHAINS && !plan.tries({ option: "split", nest: i, range: rows, factor: CHAINS })) return next;
  plan.tries({ option: "unroll", nest: i, range: whole > CHAINS ? plan.newest(i) : rows });
  return next;
}
