/** Reductions, the general product and indexed access. */
import { ArgumentError, DTypeError, ShapeError } from "../errors.ts";
import { type Dim, dimEqual, dimsEqual, dimText, known, sizeOf } from "../ir/dim.ts";
import { dtypes, isFloat } from "../ir/dtype.ts";
import { type Attrs, dimsOf, dtypeOf, type Node, type NodeOf } from "../ir/node.ts";
import { tensorType, type TensorType, typeText } from "../ir/type.ts";
import {
  and,
  cast,
  constantLike,
  div,
  dot,
  eq,
  expand,
  fill,
  flip,
  gather,
  iota,
  lt,
  mul,
  not,
  pad,
  permute,
  reduceKeep,
  reshape,
  scalar,
  scatter,
  slice,
  where,
  zerosLike,
} from "./build.ts";
import { type OpFamily, requireKinds } from "./define.ts";

const source = (y: { readonly src: readonly Node[] }, i = 0): Node => y.src[i] as Node;
const pick = (dims: readonly Dim[], axes: readonly number[]): Dim[] => axes.map((a) => dims[a] as Dim);
const others = (rank: number, ...taken: (readonly number[])[]): number[] =>
  Array.from({ length: rank }, (_, a) => a).filter((a) => !taken.some((t) => t.includes(a)));

/** The free axes of both sides of a product, in order. */
export function freeAxes({
  src,
  attr: { contract, batch },
}: Pick<NodeOf<"dot">, "src" | "attr">): readonly [number[], number[]] {
  return [
    others(dimsOf(src[0] as Node).length, contract[0], batch[0]),
    others(dimsOf(src[1] as Node).length, contract[1], batch[1]),
  ];
}

function checkAxes(op: string, x: Node, axes: readonly number[]): void {
  const rank = dimsOf(x).length;
  if (axes.some((a) => !Number.isInteger(a) || a < 0 || a >= rank) || new Set(axes).size !== axes.length)
    throw new ShapeError(`${op}: expected distinct axes of ${typeText(x.type)}, got [${axes.join(", ")}]`);
}

/** Puts back the axes that a reduction took, so that g has the source's dims. */
const regrow = (g: Node, y: NodeOf<"reduce">): Node => {
  const dims = dimsOf(source(y));
  return expand(
    reshape(
      g,
      dims.map((d, a) => (y.attr.axes.includes(a) ? 1 : d)),
    ),
    dims,
  );
};

function reduceVjp(g: Node, y: NodeOf<"reduce">): Node | null {
  const x = source(y);
  if (!isFloat(dtypeOf(x))) return null;
  const { kind, axes } = y.attr;
  if (kind === "sum") return regrow(g, y);
  if (kind === "prod") return mul(regrow(g, y), productOfOthers(x, axes));
  const [one, zero] = [constantLike(x, 1), zerosLike(x)];
  // Elements that share the extremum share its cotangent.
  const hit = where(eq(x, regrow(y, y)), one, zero);
  return div(mul(regrow(g, y), hit), expand(reduceKeep("sum", hit, axes), dimsOf(x)));
}

/** The product over the axes of all elements but each one's own. Made of products alone (those before times those after, by
 *  doubling: Hillis & Steele 1986), so it and its derivatives of any order hold where elements are 0. */
function productOfOthers(x: Node, axes: readonly number[]): Node {
  const order = [...others(dimsOf(x).length, axes), ...axes];
  const rows = permute(x, order);
  const kept = dimsOf(rows).slice(0, -axes.length);
  const n = known(sizeOf(pick(dimsOf(x), axes)), "the gradient of prod");
  if (n === 0) return x;
  const flat = reshape(rows, [...kept, n]);
  const last = kept.length;
  const zeros = kept.map(() => 0);
  const shift = (v: Node, by: number): Node =>
    pad(slice(v, [...zeros, 0], [...kept, n - by]), [...zeros, by], [...zeros, 0], 1);
  const before = (v: Node): Node => {
    let product = shift(v, 1);
    for (let by = 1; by < n - 1; by *= 2) product = mul(product, shift(product, by));
    return product;
  };
  const product = mul(before(flat), flip(before(flip(flat, [last])), [last]));
  return restore(reshape(product, dimsOf(rows)), order);
}

function dotVjp(g: Node, y: NodeOf<"dot">): [Node | null, Node | null] {
  const [a, b] = [source(y, 0), source(y, 1)];
  const { contract, batch } = y.attr;
  const [freeA, freeB] = freeAxes(y);
  const nb = batch[0].length;
  const inG = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + i);
  const gBatch = inG(0, nb);
  const gA = inG(nb, freeA.length);
  const gB = inG(nb + freeA.length, freeB.length);
  return [
    // [batch, freeA, contracted in b's order] back to a's axes
    restore(dot(g, b, { contract: [gB, freeB], batch: [gBatch, batch[1]] }), [
      ...batch[0],
      ...freeA,
      ...byOther(contract[0], contract[1]),
    ]),
    restore(dot(g, a, { contract: [gA, freeA], batch: [gBatch, batch[0]] }), [
      ...batch[1],
      ...freeB,
      ...byOther(contract[1], contract[0]),
    ]),
  ];
}

/** The axes of one side of a contraction in the order in which the other side's remain: ascending. */
const byOther = (mine: readonly number[], theirs: readonly number[]): number[] =>
  theirs
    .map((t, i) => [t, mine[i] as number] as const)
    .sort(([s], [t]) => s - t)
    .map(([, m]) => m);

/** Permutes so that axis i of x lands at places[i]. */
const restore = (x: Node, places: readonly number[]): Node =>
  permute(
    x,
    places.map((_, a) => places.indexOf(a)),
  );

function inferDot([a, b]: readonly Node[], attr: Attrs["dot"]) {
  const [x, w] = [a as Node, b as Node];
  const dtype = requireKinds("dot", [x, w], ["float", "int", "uint"]);
  const { contract, batch } = attr;
  checkAxes("dot", x, [...contract[0], ...batch[0]]);
  checkAxes("dot", w, [...contract[1], ...batch[1]]);
  for (const [what, [l, r]] of [["contracted", contract] as const, ["batch", batch] as const]) {
    if (l.length !== r.length) throw new ShapeError(`dot: the sides name ${l.length} and ${r.length} ${what} axes`);
    l.forEach((axis, i) => {
      const [m, n] = [dimsOf(x)[axis] as Dim, dimsOf(w)[r[i] as number] as Dim];
      if (dimEqual(m, n)) return;
      throw new ShapeError(
        `dot: the ${what} sizes differ: lhs ${typeText(x.type)} axis ${axis} is ${dimText(m)}, rhs ${typeText(w.type)} axis ${r[i]} is ${dimText(n)}`,
        { hint: hint(what, m, dimsOf(w)) },
      );
    });
  }
  const [fa, fb] = freeAxes({ src: [x, w], attr });
  return tensorType(dtype, [...pick(dimsOf(x), batch[0]), ...pick(dimsOf(x), fa), ...pick(dimsOf(w), fb)]);
}

function hint(what: string, wanted: Dim, rhs: readonly Dim[]): string | undefined {
  const at = rhs.findIndex((d) => dimEqual(d, wanted));
  return what === "contracted" && at >= 0
    ? `rhs axis ${at} is ${dimText(wanted)}: did you mean to transpose it?`
    : undefined;
}

/** [x.dims before the axis, indices.dims, x.dims after it] */
const gathered = (x: Node, indices: Node, axis: number): Dim[] => [
  ...dimsOf(x).slice(0, axis),
  ...dimsOf(indices),
  ...dimsOf(x).slice(axis + 1),
];

function checkIndices(op: string, indices: Node): void {
  if (!["i32", "u32"].includes(dtypeOf(indices)))
    throw new DTypeError(`${op}: expected i32 or u32 indices, got ${typeText(indices.type)}`);
}

/** The type of x with updates written along an axis.
 *  @throws ShapeError, DTypeError */
export function scatteredType(
  op: string,
  [x, indices, updates]: readonly [Node, Node, Node],
  axis: number,
): TensorType {
  checkAxes(op, x, [axis]);
  checkIndices(op, indices);
  const wanted = tensorType(dtypeOf(x), gathered(x, indices, axis));
  if (dtypeOf(x) !== dtypeOf(updates) || !dimsEqual(wanted.dims, dimsOf(updates)))
    throw new ShapeError(
      `${op}: for ${typeText(x.type)} at indices ${typeText(indices.type)} on axis ${axis} expected updates ${typeText(wanted)}, got ${typeText(updates.type)}`,
    );
  return tensorType(dtypeOf(x), dimsOf(x));
}

export const contraction = {
  reduce: {
    role: "reduce",
    fusion: "anchor",
    arity: 1,
    flops: 1,
    infer: ([x], { kind, axes }) => {
      const node = x as Node;
      checkAxes("reduce", node, axes);
      const info = dtypes[dtypeOf(node)];
      if (info.role !== "full" || (info.kind === "bool" && (kind === "sum" || kind === "prod")))
        throw new DTypeError(`reduce ${kind}: not defined on ${dtypeOf(node)}`, { hint: "cast it first" });
      return tensorType(dtypeOf(node), pick(dimsOf(node), others(dimsOf(node).length, axes)));
    },
    vjp: (g, y) => [reduceVjp(g, y)],
  },

  dot: {
    role: "contraction",
    fusion: "anchor",
    rereads: "values",
    arity: 2,
    flops: 2,
    claimable: true,
    infer: inferDot,
    vjp: dotVjp,
  },

  /** Takes slices of x along an axis. An index outside gives NaN, or 0 where the dtype has none. */
  gather: {
    role: "indexed",
    arity: 2,
    flops: 0,
    claimable: true,
    infer: ([x, indices], { axis }) => {
      checkAxes("gather", x as Node, [axis]);
      checkIndices("gather", indices as Node);
      return tensorType(dtypeOf(x as Node), gathered(x as Node, indices as Node, axis));
    },
    vjp: (g, y) => [scatter(zerosLike(source(y)), source(y, 1), g, y.attr.axis, "add"), null],
  },

  /** The transpose of gather: updates are added to, or replace, the slices of x that the indices name, in their order; an
   *  index outside is dropped. */
  scatter: {
    role: "indexed",
    fusion: "sink",
    arity: 3,
    flops: 1,
    claimable: true,
    infer: ([x, indices, updates], { axis, mode }) => {
      if (mode !== "add" && mode !== "set")
        throw new ArgumentError(`scatter: expected mode "add" or "set", got ${JSON.stringify(mode)}`);
      if (mode === "add") requireKinds("scatter", [x as Node, updates as Node], ["float", "int", "uint"]);
      return scatteredType("scatter", [x as Node, indices as Node, updates as Node], axis);
    },
    vjp: (g, y) => {
      const { axis, mode } = y.attr;
      const [, indices, updates] = y.src as [Node, Node, Node];
      const taken = where(insideOf(y), gather(g, indices, axis), zerosLike(updates));
      if (mode === "add") return [g, null, taken];
      // Which update stayed: the one whose number is found again in its place.
      const number = numbered(updates);
      const winner = scatter(fill(scalar(-1, "i32"), dimsOf(source(y))), indices, number, axis, "set");
      const kept = eq(gather(winner, indices, axis), number);
      const untouched = eq(winner, constantLike(winner, -1));
      return [where(untouched, g, zerosLike(g)), null, where(kept, taken, zerosLike(updates))];
    },
  },
} satisfies OpFamily<"reduce" | "dot" | "gather" | "scatter">;

/** For each update whether its index is inside, and the update not dropped. */
function insideOf({ src, attr: { axis } }: NodeOf<"scatter">): Node {
  const [x, indices, updates] = src as [Node, Node, Node];
  const signed = cast(indices, "i32");
  const size = constantLike(signed, known(dimsOf(x)[axis] as Dim, "the gradient of scatter"));
  const inside = and(not(lt(signed, zerosLike(signed))), lt(signed, size));
  const dims = dimsOf(updates).map((d, a) => (a >= axis && a < axis + dimsOf(indices).length ? d : 1));
  return expand(reshape(inside, dims), dimsOf(updates));
}

/** The row-major number of each element, i32. */
function numbered(like: Node): Node {
  const dims = dimsOf(like);
  return reshape(iota("i32", [sizeOf(dims)], 0), dims);
}
