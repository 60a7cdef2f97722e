/** A schedule in the making: options, the kernel that they give so far, and the steps that all heuristics share. */
import { ScheduleError } from "../errors.ts";
import { type DType, dtypes } from "../ir/dtype.ts";
import { type Fn, topological } from "../ir/fn.ts";
import { dtypeOf, type Node } from "../ir/node.ts";
import { affine } from "../ops/indexing.ts";
import type { HardwareModel } from "../runtime/hardware.ts";
import { type NestNode, nestsOf, nextIds, type RangeNode, rangesIn, reduceIds, storesOf } from "./nests.ts";
import type { Option } from "./option.ts";
import { apply } from "./schedule.ts";
import { chainStride } from "./substitute.ts";
import { wideRules } from "./products/tile-size.ts";

/** Decides what a schedule leaves open, by its name: a number for what `otherwise`, the heuristic's, would be. Yes is 1 and no is 0. */
export type Choose = (name: string, otherwise: number) => number;

/** The options found so far, and the kernel that they make. */
export interface Plan {
  readonly kernel: () => Fn;
  readonly nest: (i: number) => NestNode;
  readonly count: () => number;
  readonly range: (nest: number, id: number) => RangeNode;
  /** Adds an option. */
  readonly add: (option: Option) => void;
  /** Adds an option unless it is not legal. */
  readonly tries: (option: Option) => boolean;
  /** The greatest range id of a nest: the inner range that the last split made. */
  readonly newest: (nest: number) => number;
  /** Peels a range: the ids of the ranges of the nest behind, by the ids here; undefined where that is not legal. */
  readonly peel: (nest: number, id: number, at: number) => ReadonlyMap<number, number> | undefined;
  readonly options: readonly Option[];
  readonly hardware: HardwareModel;
  readonly choose: Choose;
}

/** A plan without options. */
export function newPlan(start: Fn, hardware: HardwareModel, choose: Choose = (_, otherwise) => otherwise): Plan {
  let kernel = start;
  const options: Option[] = [];
  const nest = (i: number): NestNode => nestsOf(kernel)[i] as NestNode;
  const add = (option: Option): void => {
    kernel = apply(kernel, option);
    options.push(option);
  };
  const tries = (option: Option): boolean => {
    try {
      add(option);
      return true;
    } catch (error) {
      if (error instanceof ScheduleError) return false;
      throw error;
    }
  };
  return {
    kernel: () => kernel,
    nest,
    count: () => nestsOf(kernel).length,
    range: (i, id) => rangesIn(nest(i).src).get(id) as RangeNode,
    add,
    tries,
    peel: (i, range, at) => {
      const ids = [...rangesIn(nest(i).src)]
        .flatMap(([id, r]) => (r.attr.kind === "outer" ? [] : [id]))
        .sort((a, b) => a - b);
      const first = nextIds(kernel).range;
      return tries({ option: "peel", nest: i, range, at })
        ? new Map(ids.map((id, rank) => [id, first + rank]))
        : undefined;
    },
    newest: (i) => Math.max(-1, ...nest(i).attr.order),
    options,
    hardware,
    choose,
  };
}

/** Elements of a vector of f32. */
export const vectorLanes = (hardware: HardwareModel): number =>
  hardware.compute.find((c) => c.unit === "vector" && c.dtype === "f32")?.lanes ?? 1;

/** Lanes of a vector of the nest's widest dtype; 1 where it cannot be vectors. */
export function lanesOf(plan: Plan, i: number): number {
  const lanes = vectorLanes(plan.hardware);
  // What is computed, and not the indices that it is loaded from.
  const values = topological(
    storesOf(plan.nest(i)).map((s) => s.src[2] as Node),
    (n) => n.op !== "load",
  ).filter((n) => n.op !== "range" && n.op !== "param");
  const used = new Set<DType>(values.map(dtypeOf));
  if (used.has("i64") || [...used].some((d) => dtypes[d].role === "block")) return 1;
  if (!used.has("f64")) return lanes;
  return [...used].every((d) => d === "f64" || d === "bool") ? lanes / 2 : 1;
}

/** Every sum of the nest that ranges enter: the indices of loads and stores, and what is computed from ranges as data. */
function sumsOf(nest: NestNode): ReadonlyMap<Node, number>[] {
  const all: ReadonlyMap<Node, number>[] = [];
  const inner = new Set<Node>();
  const order = topological(nest.src);
  for (let i = order.length - 1; i >= 0; i--) {
    const n = order[i] as Node;
    const sum = n.op === "add" || n.op === "mul";
    // A part of a sum is judged with the whole.
    if (sum && inner.has(n)) n.src.forEach((s) => inner.add(s));
    else if (sum && dtypeOf(n) === "i32") {
      all.push(affine(n).terms);
      n.src.forEach((s) => inner.add(s));
    } else if (n.op !== "range" && n.op !== "nest")
      for (const s of n.src) if (s.op === "range" && n.op !== "accumulate") all.push(new Map([[s, 1]]));
  }
  return all;
}

/** Makes one range of neighbours that are only used as one. */
export function collapseNeighbours(plan: Plan, i: number, ids: readonly number[]): void {
  for (let at = 0; at + 1 < ids.length; ) {
    const pair = [ids[at] as number, ids[at + 1] as number];
    const ranges = pair.map((id) => plan.range(i, id));
    const clean = sumsOf(plan.nest(i)).every((terms) => chainStride(terms, ranges) !== undefined);
    if (clean && plan.tries({ option: "collapse", nest: i, ranges: pair }))
      ids = [...ids.slice(0, at), plan.newest(i), ...ids.slice(at + 2)];
    else at++;
  }
}

export const outputIds = (nest: NestNode): number[] => {
  const inner = reduceIds(nest.src);
  return nest.attr.order.filter((id) => !inner.has(id));
};

/** Instances of a short loop that lie side by side without being vectors. */
export const SHORT = 8;

/** Vectorizes an output range, up to `most` vectors side by side; what is left over runs in a nest behind. Returns the position
 *  behind both. */
export function vectorizeLoop(plan: Plan, i: number, id: number, lanes: number, most: number): number {
  const { extent } = plan.range(i, id).attr;
  if (extent % lanes !== 0 && extent <= SHORT) {
    plan.tries({ option: "unroll", nest: i, range: id });
    return i + 1;
  }
  let unroll = most;
  while (unroll > 1 && extent < unroll * lanes) unroll /= 2;
  const step = unroll * lanes;
  const whole = Math.floor(extent / step) * step;
  if (whole === 0) return i + 1;
  const rest = whole < extent ? plan.peel(i, id, whole)?.get(id) : undefined;
  if (whole < extent && rest === undefined) return i + 1;
  if (unroll === 1 && whole > step) plan.tries({ option: "vectorize", nest: i, range: id, lanes });
  else if (whole === step) vectorizeInstances(plan, i, id, lanes);
  else {
    plan.add({ option: "split", nest: i, range: id, factor: step });
    vectorizeInstances(plan, i, plan.newest(i), lanes);
  }
  if (rest === undefined) return i + 1;
  const narrow = wideRules(plan.hardware, lanes)?.narrower(extent - whole, extent, lanes);
  return narrow ? vectorizeLoop(plan, i + 1, rest, narrow, 1) : i + 2;
}

/** Turns a short output range into vectors side by side. */
export function vectorizeInstances(plan: Plan, i: number, id: number, lanes: number): void {
  const { extent } = plan.range(i, id).attr;
  if (plan.tries({ option: "vectorize", nest: i, range: id, lanes }) && extent > lanes)
    plan.tries({ option: "unroll", nest: i, range: plan.newest(i) - 1 });
}
