/** A value with a frame of one number around its last axes, as a kernel stores it: what makes the value stores it where it lies in there, and
 *  the frame is written beside it. To everybody else it is a padded array; the compiler makes it of a `pad` (`compiler/frames.ts`). */
import * as movement from "../interpreter/movement.ts";
import { type Attrs, dimsOf, dtypeOf, type Node, type NodeOf, tensorTypeOf } from "../ir/node.ts";
import { tensorType } from "../ir/type.ts";
import type { LowerNests } from "../kernel/lower.ts";
import { makeNest, type NestNode } from "../kernel/nests.ts";
import { addDim } from "../ir/dim.ts";
import { build, scalar, where } from "./build.ts";
import type { RareFamily } from "./define.ts";
import { addIndex, allOf, betweenIndex, constIndex, flattenIndex, knownDims, subIndex } from "./indexing.ts";
import { load } from "./table.ts";

/** @param attr  how many elements before and after each of the last axes, and what they are */
export const framed = (x: Node, attr: Attrs["framed"]): Node => build("framed", [x], attr);

/** How far the value lies in from the beginning of each axis. */
function insets(y: NodeOf<"framed">): number[] {
  const { low } = y.attr;
  const lead = dimsOf(y).length - low.length;
  return dimsOf(y).map((_, a) => low[a - lead] ?? 0);
}

/** The value's own nest first, whose schedule is that of the value alone; then for each axis what is before and what is behind the value. */
const lowerNests: LowerNests<"framed"> = (y, { out, newRange, valueAt }) => {
  const [x] = y.src as [Node];
  const [inner, outer, low] = [knownDims(x), knownDims(y), insets(y)];
  const nest = (extents: readonly number[], store: (at: readonly Node[]) => Node): NestNode => {
    const ranges = extents.map((extent) => newRange(extent, "loop"));
    return makeNest(
      [store(ranges)],
      ranges.flatMap((r) => (r.op === "range" ? [r.attr.id] : [])),
    );
  };
  const put = (at: readonly Node[], from: readonly number[], value: Node): Node => {
    const place = at.map((i, a) => addIndex(i, constIndex(from[a] as number)));
    return build("store", [out, flattenIndex(place, outer), value], {});
  };
  const nests = [nest(inner, (at) => put(at, low, valueAt(x, at)))];
  outer.forEach((_, axis) => {
    const [first, own] = [low[axis] as number, inner[axis] as number];
    const behind = (outer[axis] as number) - first - own;
    // Corners belong to the axis before.
    const extents = outer.map((d, a) => (a < axis ? (inner[a] as number) : d));
    const begins = outer.map((_, a) => (a < axis ? (low[a] as number) : 0));
    const value = scalar(y.attr.value, dtypeOf(y));
    for (const [from, count] of [
      [0, first],
      [first + own, behind],
    ] as const)
      if (count > 0) nests.push(nest(extents.with(axis, count), (at) => put(at, begins.with(axis, from), value)));
  });
  return nests;
};

export const frames = {
  framed: {
    role: "placed",
    arity: 1,
    attrs: { low: "integers", high: "integers", value: "number" },
    infer: ([x], { low, high }) => {
      const { dtype, dims } = tensorTypeOf(x as Node);
      const lead = dims.length - low.length;
      return tensorType(
        dtype,
        dims.map((d, a) => addDim(d, (low[a - lead] ?? 0) + (high[a - lead] ?? 0))),
      );
    },
    batch: (y, { x }) => framed(x(), y.attr),
    *lower(y, at, mask) {
      const [x] = y.src as [Node];
      const low = insets(y);
      const inner = at.map((i, a) => subIndex(i, constIndex(low[a] as number)));
      const inside = allOf(inner.map((i, a) => betweenIndex(i, knownDims(x)[a] as number)));
      const value = yield { node: x, at: inner, mask: allOf([mask, inside]) };
      return inside ? where(inside, value, scalar(y.attr.value, dtypeOf(y))) : value;
    },
    lowerNests,
    evaluate: (y, [x], exact) =>
      movement.pad(x as Parameters<typeof movement.pad>[0], insets(y), knownDims(y), y.attr.value, exact),
  },
} satisfies RareFamily<"framed">;

load(frames);
