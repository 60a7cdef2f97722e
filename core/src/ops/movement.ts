/** Movement primitives: each is defined by what it does to an index, once. `index` is run on symbolic indices of the result
 *  and builds the indices into a source; fusion, bounds masks and costs are derived from that expression. */
import { DTypeError, ShapeError } from "../errors.ts";
import { addDim, type Dim, dimEqual, dimsEqual, dimText, known, mulDim, sizeOf, subDim } from "../ir/dim.ts";
import { dimsOf, dtypeOf, type Node } from "../ir/node.ts";
import { tensorType, typeText } from "../ir/type.ts";
import { flip, pad, permute, reduceKeep, reshape, slice } from "./build.ts";
import type { OpFamily } from "./define.ts";
import {
  addIndex,
  allOf,
  betweenIndex,
  constIndex,
  flattenIndex,
  mulIndex,
  subIndex,
  unflattenIndex,
} from "./indexing.ts";

const source = (y: { readonly src: readonly Node[] }): Node => y.src[0] as Node;
const invert = (axes: readonly number[]): number[] => axes.map((_, i) => axes.indexOf(i));
const isPermutation = (axes: readonly number[], rank: number) =>
  axes.length === rank && axes.every((a) => Number.isInteger(a) && a >= 0 && a < rank) && new Set(axes).size === rank;

export const movement = {
  reshape: {
    role: "movement",
    arity: 1,
    infer: ([x], { dims }) => {
      const from = dimsOf(x as Node);
      if (!dimEqual(sizeOf(from), sizeOf(dims)))
        throw new ShapeError(
          `reshape: ${typeText((x as Node).type)} has ${dimText(sizeOf(from))} elements, [${dims.map(dimText).join(", ")}] needs ${dimText(sizeOf(dims))}`,
        );
      return tensorType(dtypeOf(x as Node), dims);
    },
    index: (i, y) => ({ at: unflattenIndex(flattenIndex(i, dimsOf(y)), dimsOf(source(y))) }),
    vjp: (g, y) => [reshape(g, dimsOf(source(y)))],
  },

  permute: {
    role: "movement",
    arity: 1,
    infer: ([x], { axes }) => {
      const dims = dimsOf(x as Node);
      if (!isPermutation(axes, dims.length))
        throw new ShapeError(
          `permute: expected an order of the ${dims.length} axes of ${typeText((x as Node).type)}, got [${axes.join(", ")}]`,
        );
      return tensorType(
        dtypeOf(x as Node),
        axes.map((a) => dims[a] as Dim),
      );
    },
    index: (i, { attr: { axes } }) => ({ at: invert(axes).map((a) => i[a] as Node) }),
    vjp: (g, { attr: { axes } }) => [permute(g, invert(axes))],
  },

  expand: {
    role: "movement",
    arity: 1,
    infer: ([x], { dims }) => {
      const from = dimsOf(x as Node);
      if (from.length !== dims.length || from.some((d, a) => d !== 1 && !dimEqual(d, dims[a] as Dim)))
        throw new ShapeError(
          `expand: ${typeText((x as Node).type)} cannot be repeated to [${dims.map(dimText).join(", ")}]: only axes of 1 grow`,
        );
      return tensorType(dtypeOf(x as Node), dims);
    },
    index: (i, y) => ({ at: i.map((n, a) => (dimsOf(source(y))[a] === 1 ? constIndex(0) : n)) }),
    vjp: (g, y) => [
      reduceKeep(
        "sum",
        g,
        dimsOf(y).flatMap((d, a) => (dimEqual(d, dimsOf(source(y))[a] as Dim) ? [] : [a])),
      ),
    ],
  },

  pad: {
    role: "movement",
    arity: 1,
    infer: ([x], { low, high }) => {
      const dims = dimsOf(x as Node);
      if (
        low.length !== dims.length ||
        high.length !== dims.length ||
        [...low, ...high].some((n) => typeof n === "number" && n < 0)
      )
        throw new ShapeError(
          `pad: expected ${dims.length} amounts of at least 0 before and after, got [${low.map(dimText)}] and [${high.map(dimText)}]`,
        );
      return tensorType(
        dtypeOf(x as Node),
        dims.map((d, a) => addDim(d, addDim(low[a] as Dim, high[a] as Dim))),
      );
    },
    index: (i, y) => {
      const at = i.map((n, a) => subIndex(n, constIndex(known(y.attr.low[a] as Dim, "pad"))));
      return {
        at,
        inside: allOf(at.map((n, a) => betweenIndex(n, known(dimsOf(source(y))[a] as Dim, "pad")))),
        otherwise: y.attr.value,
      };
    },
    vjp: (g, y) => [slice(g, y.attr.low, dimsOf(source(y)))],
  },

  slice: {
    role: "movement",
    arity: 1,
    infer: ([x], { start, size, step }) => {
      const dims = dimsOf(x as Node);
      const fits = (a: number): boolean => {
        const [from, count, by, whole] = [start[a], size[a], step[a], dims[a]];
        if (typeof by !== "number" || by < 1 || !Number.isInteger(by)) return false;
        if (typeof from !== "number" || typeof count !== "number" || typeof whole !== "number") return true;
        return from >= 0 && count >= 0 && (count === 0 ? from <= whole : from + (count - 1) * by < whole);
      };
      if (
        start.length !== dims.length ||
        size.length !== dims.length ||
        step.length !== dims.length ||
        !dims.every((_, a) => fits(a))
      )
        throw new ShapeError(
          `slice: start [${start.map(dimText)}], size [${size.map(dimText)}], step [${step}] lie outside ${typeText((x as Node).type)}`,
        );
      return tensorType(dtypeOf(x as Node), size);
    },
    index: (i, { attr: { start, step } }) => ({
      at: i.map((n, a) => addIndex(mulIndex(n, step[a] as number), constIndex(known(start[a] as Dim, "slice")))),
    }),
    vjp: (g, y) => [unslice(g, y.attr, dimsOf(source(y)))],
  },

  flip: {
    role: "movement",
    arity: 1,
    infer: ([x], { axes }) => {
      const dims = dimsOf(x as Node);
      if (axes.some((a) => !Number.isInteger(a) || a < 0 || a >= dims.length) || new Set(axes).size !== axes.length)
        throw new ShapeError(`flip: expected distinct axes of ${typeText((x as Node).type)}, got [${axes.join(", ")}]`);
      return tensorType(dtypeOf(x as Node), dims);
    },
    index: (i, y) => ({
      at: i.map((n, a) =>
        y.attr.axes.includes(a) ? subIndex(constIndex(known(dimsOf(y)[a] as Dim, "flip") - 1), n) : n,
      ),
    }),
    vjp: (g, { attr: { axes } }) => [flip(g, axes)],
  },

  concat: {
    role: "movement",
    arity: [1, Number.POSITIVE_INFINITY],
    infer: (src, { axis }) => {
      const first = src[0] as Node;
      const rest = (n: Node) => dimsOf(n).filter((_, a) => a !== axis);
      if (!Number.isInteger(axis) || axis < 0 || axis >= dimsOf(first).length)
        throw new ShapeError(`concat: expected an axis of ${typeText(first.type)}, got ${axis}`);
      for (const s of src) {
        if (dtypeOf(s) !== dtypeOf(first))
          throw new DTypeError(`concat: the parts' dtypes differ: ${src.map((p) => dtypeOf(p)).join(", ")}`);
        if (!dimsEqual(rest(s), rest(first)) || dimsOf(s).length !== dimsOf(first).length)
          throw new ShapeError(
            `concat: the parts differ outside axis ${axis}: ${src.map((p) => typeText(p.type)).join(", ")}`,
          );
      }
      const total = src.reduce<Dim>((sum, s) => addDim(sum, dimsOf(s)[axis] as Dim), 0);
      return tensorType(
        dtypeOf(first),
        dimsOf(first).map((d, a) => (a === axis ? total : d)),
      );
    },
    index: (i, y, part) => {
      const { axis } = y.attr;
      const at = [...i];
      at[axis] = subIndex(i[axis] as Node, constIndex(known(partStart(y.src, axis, part), "concat")));
      return {
        at,
        inside: betweenIndex(at[axis], known(dimsOf(y.src[part] as Node)[axis] as Dim, "concat")),
        otherwise: 0,
      };
    },
    vjp: (g, y) =>
      y.src.map((s, part) =>
        slice(
          g,
          dimsOf(s).map((_, a) => (a === y.attr.axis ? partStart(y.src, a, part) : 0)),
          dimsOf(s),
        ),
      ),
  },
} satisfies OpFamily<"reshape" | "permute" | "expand" | "pad" | "slice" | "flip" | "concat">;

/** Where a part of a concatenation begins on its axis. */
export const partStart = (src: readonly Node[], axis: number, part: number): Dim =>
  src.slice(0, part).reduce<Dim>((sum, s) => addDim(sum, dimsOf(s)[axis] as Dim), 0);

/** The transpose of slice: g back in its places, zeros elsewhere. A step is undone by padding each element to a block of
 *  `step` and dropping what hangs over. */
function unslice(
  g: Node,
  { start, size, step }: { start: readonly Dim[]; size: readonly Dim[]; step: readonly number[] },
  dims: readonly Dim[],
): Node {
  const spread = step.some((s) => s !== 1) ? spreadBy(g, step) : g;
  const reach = size.map((n, a) => (n === 0 ? 0 : addDim(mulDim(subDim(n, 1), step[a] as number), 1)));
  return pad(
    slice(
      spread,
      dims.map(() => 0),
      reach,
    ),
    start,
    dims.map((d, a) => subDim(subDim(d, start[a] as Dim), reach[a] as Dim)),
  );
}

/** Each element followed by step − 1 zeros, on every axis. */
function spreadBy(x: Node, step: readonly number[]): Node {
  const dims = dimsOf(x);
  const blocks = reshape(
    x,
    dims.flatMap((d) => [d, 1]),
  );
  const padded = pad(
    blocks,
    dims.flatMap(() => [0, 0]),
    step.flatMap((s) => [0, s - 1]),
  );
  return reshape(
    padded,
    dims.map((d, a) => mulDim(d, step[a] as number)),
  );
}
