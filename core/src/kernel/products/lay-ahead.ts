/** Weights in blocks of few bits, and of bf16, laid in the order in which products read them, by a kernel of its own: what the rows of a
 *  vector's lanes have in one block lies together, so that a tile of rows is one stream of memory, where it is as many as it has rows.
 *
 *    row t, block b:  s s c c c c …    →    block b of 16 rows:  s of each row, the next s of each, cccc of each, the next cccc of each, …
 *    row t:  v v v v …                 →    16 rows:  v v of each row, the next v v of each, …
 *
 *  Nothing is decoded, and there are as many bytes as before; rows behind the last whole tile lie as they did. Sums are the same, to the bit. */
import { type Node, type NodeOf, tensorTypeOf } from "../../ir/node.ts";
import { within } from "../../ir/scope.ts";
import { build } from "../../ops/build.ts";
import { addIndex, affine, bounds, constIndex, divIndex, modIndex, sumIndex } from "../../ops/indexing.ts";
import { loadOf, TERMS } from "./byte-product.ts";
import { bytesIn } from "./gemm-bytes.ts";
import { type Pairs, pairsIn } from "./gemm-pairs.ts";
import {
  accumulatesIn,
  kernelNode,
  type LoadNode,
  loadsIn,
  makeKernel,
  makeNest,
  makeRange,
  type NestNode,
  nestsOf,
  type RangeNode,
} from "../nests.ts";
import { PARTS } from "./pair-product.ts";
import { lanesOf, type Plan } from "../plan.ts";
import { substitute } from "../substitute.ts";
import type { InTwo, WideRules } from "./tile-size.ts";

/** How rows of blocks lie, in elements: bytes, or bf16, of which a row is one block. */
interface Layout {
  /** Rows that lie beside each other, and those that do so in whole tiles. */
  readonly tile: number;
  readonly whole: number;
  readonly row: number;
  readonly block: number;
  /** What stands before the codes of a block. */
  readonly head: number;
  /** Codes of a row that stay together. */
  readonly terms: number;
}

/** Vectors of columns of a tile: several hide what an addition takes, and no more sums than registers hold. */
const VECTORS = [4, 2, 1];
const MOST_SUMS = 24;

/** Where an element comes to lie that lay at an index of the whole tiles. */
function placeOf(index: Node, { tile, row, block, head, terms }: Layout): Node {
  const [at, column] = [divIndex(index, row), modIndex(index, row)];
  const [t, rest] = [modIndex(at, tile), modIndex(column, block)];
  const codes = addIndex(rest, constIndex(-head));
  const [first, last] = bounds(rest);
  const inside =
    last < head
      ? sumIndex(0, [rest, tile], [t, 1])
      : first >= head
        ? sumIndex(tile * head, [divIndex(codes, terms), terms * tile], [t, terms], [modIndex(codes, terms), 1])
        : index;
  return sumIndex(0, [divIndex(at, tile), tile * row], [divIndex(column, block), tile * block], [inside, 1]);
}

/** The kernel in two, where it is one product by weights that stay: of bytes, or of bf16 whose rows are one tile. */
export const laidAhead: WideRules["laidAhead"] = (plan, isKept) => {
  const [nest, ...more] = nestsOf(plan.kernel());
  if (!nest || more.length > 0) return undefined;
  const isKeptParam = (of: Node | undefined): of is NodeOf<"param"> => of?.op === "param" && isKept(of.attr.index);
  return within(kernelNode(plan.kernel()).scope, () => {
    const bytes = bytesIn(plan, 0);
    const weights = bytes && loadOf(bytes.across).src[0];
    if (bytes && isKeptParam(weights)) {
      const layout = ofBlocks(plan, nest, bytes.n, weights);
      return layout && inTwo(plan, bytes.n, weights, layout);
    }
    const [sum, ...others] = accumulatesIn(nest.src);
    const pairs = sum && others.length === 0 ? pairsIn(plan, 0, lanesOf(plan, 0)) : undefined;
    if (!sum || !pairs) return undefined;
    const [load] = loadsIn([(sum.src[0] as Node).src[pairs.tile.operand] as Node]);
    const of = load?.src[0];
    const layout = load && isKeptParam(of) ? ofPairs(plan, load, pairs) : undefined;
    return layout && isKeptParam(of) ? inTwo(plan, pairs.tile.n, of, layout) : undefined;
  });
};

/** How weights of bf16 lie that are read once, by one tile of rows; more rows pack panels of their own. */
function ofPairs(plan: Plan, load: LoadNode, { parts, k, tile, isOneTile }: Pairs): Layout | undefined {
  const columns = plan.range(0, tile.n);
  const { terms, constant } = affine(load.src[1] as Node);
  const row = k.attr.extent;
  const isRows = constant === 0 && terms.size === 2 && terms.get(k) === 1 && terms.get(columns) === row;
  const isWhole = tensorTypeOf(load.src[0] as Node).dims[0] === row * columns.attr.extent && load.src.length === 2;
  if (!parts.every((part) => part === "bf16") || !isOneTile || !isRows || !isWhole) return undefined;
  const { extent } = columns.attr;
  const vectors = VECTORS.find((v) => v * tile.rows <= MOST_SUMS && extent % (v * tile.lanes) === 0);
  if (vectors === undefined) return undefined;
  return { tile: vectors * tile.lanes, whole: extent, row, block: row, head: 0, terms: PARTS.bf16 };
}

/** How blocks lie, as it follows from the loads of them; undefined where these are no rows of blocks. */
function ofBlocks(plan: Plan, nest: NestNode, n: number, weights: Node): Layout | undefined {
  const loads = loadsIn(nest.src).filter((l) => l.src[0] === weights);
  const stride = (l: LoadNode, r: RangeNode): number => affine(l.src[1] as Node).terms.get(r) ?? 0;
  const rows = plan.range(0, n);
  const outer = accumulatesIn(nest.src).find((sum) => accumulatesIn([sum]).length > 1)?.src[1];
  if (outer?.op !== "range") return undefined;
  const row = Math.max(...loads.map((l) => stride(l, rows)));
  const block = Math.max(...loads.map((l) => stride(l, outer)));
  const count = tensorTypeOf(weights).dims[0];
  const tile = lanesOf(plan, 0);
  const whole = rows.attr.extent - (rows.attr.extent % tile);
  if (tile < TERMS || whole === 0 || block < TERMS || row % block !== 0 || count !== row * rows.attr.extent)
    return undefined;
  const reached = loads.map((l) => bounds(modIndex(modIndex(l.src[1] as Node, row), block)));
  const head = Math.max(...reached.map(([first]) => first));
  const isClear = reached.every(([first, last]) => last < head || (first === head && last === block - 1));
  return isClear && head > 0 && (block - head) % TERMS === 0 && loads.every((l) => l.src.length === 2)
    ? { tile, whole, row, block, head, terms: TERMS }
    : undefined;
}

function inTwo(plan: Plan, n: number, weights: NodeOf<"param">, layout: Layout): InTwo | undefined {
  const rest = plan.range(0, n).attr.extent > layout.whole;
  if (rest && !plan.peel(0, n, layout.whole)) return undefined;
  const kernel = plan.kernel();
  return within(kernelNode(kernel).scope, () => {
    const panels = tensorTypeOf(weights);
    const read = build("param", [], { index: weights.attr.index, name: "panels", type: panels });
    const nests = nestsOf(kernel).map((nest, i) => {
      const node = (m: Node, [buffer, index]: readonly Node[]): Node | undefined => {
        if (m === weights) return read;
        return m.op === "load" && buffer === read && i === 0
          ? build("load", [read, placeOf(index as Node, layout)], {})
          : undefined;
      };
      return makeNest(substitute(nest.src, { range: () => undefined, node }), nest.attr.order);
    });
    const params = kernel.params.map((p) => (p === weights ? read : p));
    const [from, to] = ["weights", "panels"].map((name, index) => build("param", [], { index, name, type: panels }));
    return {
      pack: makeKernel(
        `pack_${kernel.name}`,
        [from, to] as NodeOf<"param">[],
        packing(from as Node, to as Node, layout),
      ),
      weights: weights.attr.index,
      panels,
      main: makeKernel(kernel.name, params, nests),
    };
  });
}

/** The nests that lay weights so. */
function packing(from: Node, to: Node, layout: Layout): NestNode[] {
  const { tile, whole, row, block, head, terms } = layout;
  const size = Number(tensorTypeOf(from).dims[0]);
  let next = 0;
  const range = (extent: number): Node => (extent === 1 ? constIndex(0) : makeRange(next++, extent, "loop"));
  const copy = (ranges: readonly Node[], index: Node, place: Node): NestNode =>
    makeNest(
      [build("store", [to, place, build("load", [from, index], {})], {})],
      ranges.flatMap((r) => (r.op === "range" ? [r.attr.id] : [])),
    );
  /** Of each block some bytes, of neighbouring rows. */
  const part = (start: number, count: number, side: number): NestNode => {
    const ranges = [whole / tile, row / block, count / side, tile, side].map(range) as [Node, Node, Node, Node, Node];
    const [tiles, blocks, groups, t, place] = ranges;
    const index = sumIndex(start, [tiles, tile * row], [t, row], [blocks, block], [groups, side], [place, 1]);
    return copy(ranges, index, placeOf(index, layout));
  };
  const left = size - whole * row;
  const behind = (r: Node): NestNode => {
    const at = addIndex(r, constIndex(whole * row));
    return copy([r], at, at);
  };
  return [
    ...(head > 0 ? [part(0, head, 1)] : []),
    part(head, block - head, terms),
    ...(left > 0 ? [behind(range(left))] : []),
  ];
}
