/** Sums of products of words as text, where the processor has matrix registers: one call of a helper makes the sums of a tile of up to 32 rows
 *  and columns, behind which they lie in an array of vectors; a loop over the rows does with them what there is to be done.
 *
 *    Σ_k,h part h of x[i, k] · part h of panel[k][j]    →    matrix(tiles, a, x, bytes of a row, panel, words, rows, columns)
 *                                                           for i: … a[i * 2 + j / 16] … */
import { dtypeOf, type Node } from "../../ir/node.ts";
import { affine, constIndex, subIndex } from "../../ops/indexing.ts";
import type { Text } from "./lanes.ts";
import { pathTo } from "./reach.ts";
import { addLine, type Block, indexName, isSerial, outputLoops } from "./text.ts";
import type { Nest } from "./writing.ts";
import { MATRIX, SIDE } from "../products/gemm-matrix.ts";
import {
  type AccumulateNode,
  accumulatesIn,
  type LoadNode,
  type NestNode,
  type RangeNode,
  rangesIn,
} from "../nests.ts";
import { substitute } from "../substitute.ts";
import { firstOf, partsOf, sizeOf, wordOf } from "../products/pair-product.ts";

/** The tile of a nest. */
interface Tile {
  readonly row: RangeNode;
  readonly k: RangeNode;
  /** Which operand the panels are of. */
  readonly panel: 0 | 1;
  /** Vectors of columns. */
  readonly vectors: number;
}

/** A word as it lies in memory: where, and how far apart words along a range are. */
interface Place {
  readonly load: LoadNode;
  readonly words: (r: RangeNode) => number;
}

export class Matrix {
  readonly #nest: Nest;
  readonly #lane: RangeNode;
  #tile: Tile | undefined;
  /** The array of the tile's sums. */
  #name: string | undefined;

  constructor(nest: Nest, lane: RangeNode) {
    this.#nest = nest;
    this.#lane = lane;
  }

  /** The rows of the nest's tile, if it is one: a loop then, though they are marked to be written out. */
  rowsOf(nest: NestNode): RangeNode | undefined {
    this.#tile = this.#tileOf(nest);
    return this.#tile?.row;
  }

  #tileOf(nest: NestNode): Tile | undefined {
    const [sum, ...more] = accumulatesIn(nest.src);
    const parts = sum && partsOf(sum);
    if (!sum || !parts || more.length > 0) return undefined;
    const [k, ...others] = (sum.src.slice(1) as RangeNode[]).filter((r) => r !== parts);
    const factors = (sum.src[0] as Node).src;
    const panel = this.#nest.reach.varies(factors[0] as Node) ? 0 : 1;
    const [x, y] = [factors[1 - panel], factors[panel]].map((s) => placeIn(s as Node));
    if (!k || others.length > 0 || !isSerial(k) || !x || !y || dtypeOf(y.load) !== "i32") return undefined;
    const [inRows, inColumns] = [x, y].map(({ load }) => rangesIn([load])) as [
      ReturnType<typeof rangesIn>,
      ReturnType<typeof rangesIn>,
    ];
    const side = outputLoops(nest).filter((r) => r.attr.kind === "unroll");
    const [row, ...rows] = side.filter(({ attr }) => inRows.has(attr.id) && !inColumns.has(attr.id));
    const columns = side.filter((r) => r !== row);
    const vectors = columns.reduce((n, r) => n * r.attr.extent, 1);
    const isTile =
      row !== undefined &&
      rows.length === 0 &&
      row.attr.extent <= SIDE * MATRIX &&
      this.#lane.attr.extent === MATRIX &&
      vectors <= SIDE &&
      !inRows.has(this.#lane.attr.id) &&
      columns.every((r) => !inRows.has(r.attr.id) && y.words(r) === MATRIX) &&
      [x.words(k), y.words(this.#lane), y.words(k)].join(" ") === [1, 1, SIDE * MATRIX].join(" ");
    return isTile ? { row, k, panel, vectors } : undefined;
  }

  /** A row's sums of one vector of columns, as seen from a block; undefined where the nest is no tile. */
  of(sum: AccumulateNode, at: Block): Text | undefined {
    const tile = this.#tile;
    const around = pathTo(at).find(({ range }) => range === tile?.row)?.parent;
    if (!tile || !around) return undefined;
    const factors = (sum.src[0] as Node).src;
    const places = factors.map((s) => placeIn(s) as Place);
    const panel = places[tile.panel] as Place;
    const first = this.#first(panel, tile);
    const column = affine(first).constant % (SIDE * MATRIX);
    const name = (this.#name ??= this.#called(sum, tile, around, subIndex(first, constIndex(column))));
    return { element: dtypeOf(sum), parts: [`${name}[${indexName(tile.row)} * ${SIDE} + ${column / MATRIX}]`] };
  }

  /** Where a tile's first word lies. */
  #first({ load }: Place, { row, k }: Tile): Node {
    const origin = new Set<Node>([row, k, this.#lane]);
    return substitute([load.src[1] as Node], { range: (r) => (origin.has(r) ? constIndex(0) : undefined) })[0] as Node;
  }

  /** The call, in the block around the rows. */
  #called(sum: AccumulateNode, tile: Tile, around: Block, panelAt: Node): string {
    const { writing, lanes, newName, place, reach } = this.#nest;
    const { row, k, panel, vectors } = tile;
    const factors = (sum.src[0] as Node).src;
    const [x, y] = [factors[1 - panel], factors[panel]].map((s) => placeIn(s as Node)) as [Place, Place];
    const kinds = [factors[1 - panel], factors[panel]].map((s) => wordOf(s as Node)?.part);
    const kind = kinds[0] === "bf16" ? "bf16" : (kinds.map((d) => (d === "i8" ? "s" : "u")).join("") as "ss");
    const dtype = dtypeOf(sum);
    const help = writing.needs.vector(`matrix_${kind}`, dtype, dtype, MATRIX);
    const name = newName("a");
    const level = reach.levelOf(sum) - 1;
    addLine(around, level, `${lanes.type(dtype)} ${name}[${SIDE * SIDE * MATRIX}];`);
    const args = [
      "&tiles",
      name,
      place(x.load.src[0] as Node, this.#first(x, tile), around).join(" + "),
      x.words(row) * 4,
      place(y.load.src[0] as Node, panelAt, around).join(" + "),
      k.attr.extent,
      row.attr.extent,
      vectors * MATRIX,
    ];
    addLine(around, level, `${help}(${args.join(", ")});`);
    return name;
  }
}

/** How a factor's words lie, if they do; an index that is no sum of ranges is none. */
function placeIn(factor: Node): Place | undefined {
  const word = wordOf(factor)?.of;
  const load = word?.op === "load" ? word : word && firstOf(word);
  if (!load || load.src.length > 2) return undefined;
  const size = load === word ? 1 : sizeOf(load);
  const { terms } = affine(load.src[1] as Node);
  return { load, words: (r) => (terms.get(r) ?? 0) / size };
}
