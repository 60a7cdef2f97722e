/** A product whose weights are packed by a kernel of its own, so that calls with the same weights need not pack them again.
 *
 *    for m, n: out = accumulate sum(x(m, k) · w(n, k)) over k
 *  → one kernel:  for p, k, t: panel[p][k][t] = w(p·tile + t, k)
 *    another one: for m, n: out = accumulate sum(x(m, k) · panel[n / tile][k][n mod tile]) over k
 *
 *  Panels are those of `stage.ts`, and sums are taken in the same order, so results have the same bits. What is kept takes as many bytes
 *  as the weights, but for what the last panel is filled up with: weights that are converted on the way are left as they are. */
import { type Fn, topological } from "../../ir/fn.ts";
import { type Node, type NodeOf, tensorTypeOf } from "../../ir/node.ts";
import { within } from "../../ir/scope.ts";
import type { TensorType } from "../../ir/type.ts";
import { build } from "../../ops/build.ts";
import type { HardwareModel } from "../../runtime/hardware.ts";
import { chooseTile } from "./gemm.ts";
import { schedule } from "../heuristics.ts";
import {
  accumulatesIn,
  kernelNode,
  loadsIn,
  makeKernel,
  makeNest,
  type NestNode,
  nestsOf,
  storesOf,
} from "../nests.ts";
import type { Option } from "../option.ts";
import { type Choose, lanesOf, newPlan, vectorLanes } from "../plan.ts";
import { apply, applySchedule } from "../schedule.ts";
import { substitute } from "../substitute.ts";
import { type InTwo, tileSize, wideRules } from "./tile-size.ts";

export interface PackedAhead extends InTwo {
  /** Decides for the main kernel what follows from the panels. */
  readonly choose: Choose;
}

interface Operand {
  readonly number: 0 | 1;
  readonly weights: NodeOf<"param">;
}

/** The kernel in two, where it is a product by weights that are worth packing.
 *  @param kernel  freshly lowered
 *  @param isKept  whether a parameter's values stay from call to call */
export function packAhead(
  kernel: Fn,
  { hardware, choose, isKept }: { hardware: HardwareModel; choose: Choose; isKept: (param: number) => boolean },
): PackedAhead | undefined {
  const operand = keptOperand(kernel, isKept);
  if (!operand) {
    const laid = wideRules(hardware, vectorLanes(hardware))?.laidAhead(newPlan(kernel, hardware, choose), isKept);
    return laid && { ...laid, choose };
  }
  const options = schedule(kernel, hardware, choose);
  const first = options.findIndex(({ option }) => option !== "collapse");
  const flat = applySchedule(kernel, first < 0 ? options : options.slice(0, first));
  const panels = panelsOf(flat, operand, options, hardware, choose);
  if (!panels) return undefined;
  const { range, tile, decided } = panels;
  const staged = apply(flat, { option: "stage", nest: 0, operand: operand.number, range, tile });
  return {
    ...inTwo(staged, operand.weights),
    weights: operand.weights.attr.index,
    choose: (name, otherwise) => decided.get(name) ?? choose(name, otherwise),
  };
}

/** The operand of a kernel's one product that is a kept buffer as it lies. */
function keptOperand(kernel: Fn, isKept: (param: number) => boolean): Operand | undefined {
  const [first, ...others] = nestsOf(kernel) as [NestNode, ...NestNode[]];
  const sums = accumulatesIn(first.src);
  const [product] = sums[0]?.src ?? [];
  // Behind the product nothing is read: a frame.
  if (loadsIn(others).length > 0 || sums.length !== 1 || !sums[0]?.attr.product || product?.op !== "mul")
    return undefined;
  for (const number of [1, 0] as const) {
    const x = product.src[number] as Node;
    const weights = x.op === "load" && x.src.length === 2 ? x.src[0] : undefined;
    if (weights?.op === "param" && isKept(weights.attr.index)) {
      const reads = loadsIn(kernel.results).filter((l) => l.src[0] === weights);
      if (reads.length === 1) return { number, weights };
    }
  }
  return undefined;
}

interface Panels {
  readonly range: number;
  readonly tile: number;
  /** What a schedule of the main kernel is to choose. */
  readonly decided: ReadonlyMap<string, number>;
}

/** The panels that the schedule would pack at each call, or those that it would read in if they were there. */
function panelsOf(
  flat: Fn,
  { number }: Operand,
  options: readonly Option[],
  hardware: HardwareModel,
  choose: Choose,
): Panels | undefined {
  const plan = newPlan(flat, hardware, choose);
  const lanes = lanesOf(plan, 0);
  const tile = lanes > 1 ? chooseTile(plan, 0, lanes) : undefined;
  if (!tile) return undefined;
  if (number === tile.operand) {
    const count = tile.m === undefined ? 1 : plan.range(0, tile.m).attr.extent;
    const width = Math.ceil(plan.range(0, tile.n).attr.extent / lanes);
    const shape = { count, width, windowed: tile.windowed, turned: false, long: false };
    const { rows, vectors: most } = tile.side ?? tileSize(hardware, lanes, shape);
    const vectors = evenVectors(width, rows, most);
    const decided = { rows, vectors, packColumns: 0 };
    return { range: tile.n, tile: vectors * lanes, decided: new Map(Object.entries(decided)) };
  }
  const staged = options.find((o) => o.option === "stage" && o.operand === number);
  if (staged?.option !== "stage" || staged.range !== tile.m) return undefined;
  return { range: staged.range, tile: staged.tile, decided: new Map([["packRows", 0]]) };
}

/** Accumulators that hide what an addition takes. */
const ENOUGH = 8;

/** Vectors of a panel: as many as fit beside so many rows, or less if panels are then alike and still enough to do at a time. */
function evenVectors(width: number, rows: number, most: number): number {
  for (let v = most; v * rows >= ENOUGH; v--) if (width % v === 0) return v;
  return most;
}

/** The nests that pack as one kernel, and the product, which reads what they store, as another. */
function inTwo(kernel: Fn, weights: NodeOf<"param">): Omit<InTwo, "weights"> {
  return within(kernelNode(kernel).scope, () => {
    const nests = nestsOf(kernel);
    const scratch = topological(nests).find((n) => n.op === "scratch") as Node;
    const isPack = (n: NestNode): boolean => storesOf(n).some(({ src: [to] }) => to === scratch);
    const panels = tensorTypeOf(scratch);
    const param = (index: number, name: string, type: TensorType): NodeOf<"param"> =>
      build("param", [], { index, name, type });
    const [from, to] = [param(0, "weights", tensorTypeOf(weights)), param(1, "panels", panels)];
    const packs = nests.filter(isPack).map((n) =>
      withBuffers(
        n,
        new Map([
          [weights, from as Node],
          [scratch, to as Node],
        ]),
      ),
    );
    const read = param(weights.attr.index, "panels", panels);
    const params = kernel.params.map((p) => (p === weights ? read : p));
    const rest = nests.filter((n) => !isPack(n)).map((n) => withBuffers(n, new Map([[scratch, read as Node]])));
    return {
      pack: makeKernel(`pack_${kernel.name}`, [from, to], packs),
      main: makeKernel(kernel.name, params, rest),
      panels,
    };
  });
}

const withBuffers = (nest: NestNode, places: ReadonlyMap<Node, Node>): NestNode =>
  makeNest(substitute(nest.src, { range: () => undefined, node: (n) => places.get(n) }), nest.attr.order);
