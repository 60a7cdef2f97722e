/** What the elements of windows over the last axes combine to: pools. A window neither pads nor dilates its source: that is done by movement
 *  before it, and stored, so that its loops read without masks. */
import { reduce } from "../interpreter/contraction.ts";
import { sizeOfDims, type Value } from "../interpreter/value.ts";
import { isFloat } from "../ir/dtype.ts";
import { type Attrs, dimsOf, dtypeOf, type Node, type NodeOf } from "../ir/node.ts";
import { ShapeError } from "../errors.ts";
import { tensorType } from "../ir/type.ts";
import { build, eq, fill, iota, lt, not, or, reshape, scalar, scatter, slice, where } from "./build.ts";
import { type RareFamily, requireKinds } from "./define.ts";
import { dilate } from "./dilate.ts";
import { knownDims } from "./indexing.ts";
import {
  accumulated,
  all,
  checkSteps,
  countsOf,
  isEmpty,
  ones,
  rangeOf,
  type Steps,
  windows,
  within,
} from "./sliding.ts";
import { load } from "./table.ts";

export const window = (x: Node, attr: Attrs["window"]): Node => build("window", [x], attr);

/** What a window op leaves of its source at the end, and how far a window reaches. */
function reach(x: Node, y: Node, sizes: readonly number[], { strides, dilations }: Steps) {
  const lead = dimsOf(x).length - sizes.length;
  const over = sizes.map((k, i) => (dilations[i] as number) * (k - 1));
  const left = over.map((o, i) => {
    const [from, to] = [knownDims(x)[lead + i] as number, knownDims(y)[lead + i] as number];
    return from - ((to - 1) * (strides[i] as number) + o + 1);
  });
  return { over, after: over.map((o, i) => o + (left[i] as number)) };
}

function windowVjp(g: Node, y: NodeOf<"window">): (Node | null)[] {
  const [x] = y.src as [Node];
  const { kind, sizes, strides, dilations } = y.attr;
  if (!isFloat(dtypeOf(x)) || isEmpty(y)) return [null];
  if (kind === "sum") {
    const { over, after } = reach(x, y, sizes, y.attr);
    return [window(dilate(g, strides, over, after), { kind, sizes, strides: ones(sizes.length), dilations })];
  }
  return [winners(g, y)];
}

/** The cotangent of an extremum goes to the first element of its window that has it, or to the last NaN, as in PyTorch. Where
 *  that is, is found along one axis after the other, the last first, by comparing the elements of a window in turn. */
function winners(g: Node, y: NodeOf<"window">): Node {
  const [x] = y.src as [Node];
  const { kind, sizes, strides, dilations } = y.attr;
  const count = sizeOfDims(knownDims(x));
  let best = x;
  let place = reshape(iota("i32", [count], 0), dimsOf(x));
  for (let i = sizes.length - 1; i >= 0; i--) {
    const axis = dimsOf(x).length - sizes.length + i;
    const dims = knownDims(best).with(axis, knownDims(y)[axis] as number);
    const candidates = (v: Node): Node[] =>
      rangeOf(0, sizes[i] as number).map((k) =>
        slice(
          v,
          all(dims.length, 0).with(axis, k * (dilations[i] as number)),
          dims,
          ones(dims.length).with(axis, strides[i] as number),
        ),
      );
    const places = candidates(place);
    const values = candidates(best);
    [best, place] = values.reduce<[Node, Node]>(
      ([value, at], next, k) => {
        const ahead = kind === "max" ? lt(value, next) : lt(next, value);
        const better = or(ahead, not(eq(next, next)));
        return [where(better, next, value), where(better, places[k] as Node, at)];
      },
      [values[0] as Node, places[0] as Node],
    );
  }
  return reshape(scatter(fill(scalar(0, dtypeOf(g)), [count]), place, g, 0, "add"), dimsOf(x));
}

export const pooling = {
  window: {
    role: "reduce",
    fusion: "anchor",
    rereads: "unmasked",
    arity: 1,
    flops: 1,
    claimable: true,
    attrs: { kind: ["sum", "max", "min"], sizes: "integers", strides: "integers", dilations: "integers" },
    infer: ([x], attr) => {
      const node = x as Node;
      const dtype = requireKinds("window", [node], ["float", "int", "uint"]);
      const lead = dimsOf(node).length - attr.sizes.length;
      checkSteps("window", node, lead, attr);
      if (attr.sizes.some((k) => !Number.isInteger(k) || k < 1))
        throw new ShapeError(`window: expected sizes of at least 1, got [${attr.sizes.join(", ")}]`);
      return tensorType(dtype, [
        ...dimsOf(node).slice(0, lead),
        ...countsOf(knownDims(node).slice(lead), attr.sizes, attr),
      ]);
    },
    vjp: windowVjp,
    batch: (y, { x }) => window(x(), y.attr),
    *lower(y, at, mask, newRange) {
      const lead = at.length - y.attr.sizes.length;
      const k = y.attr.sizes.map((d) => newRange(d, "reduce"));
      const value = yield {
        node: y.src[0] as Node,
        at: [...at.slice(0, lead), ...within(at.slice(lead), k, y.attr)],
        mask,
      };
      return accumulated({ kind: y.attr.kind }, value, k);
    },
    evaluate: (y, [x], exact) => {
      const value = x as Value;
      const { kind, sizes } = y.attr;
      const lead = value.dims.length - sizes.length;
      const counts = countsOf(value.dims.slice(lead), sizes, y.attr);
      const seen = windows(value, lead, counts, sizes, y.attr);
      return reduce(seen, { kind, axes: rangeOf(lead + sizes.length, lead + 2 * sizes.length) }, exact);
    },
  },
} satisfies RareFamily<"window">;

load(pooling);
