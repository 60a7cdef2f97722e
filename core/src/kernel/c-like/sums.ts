/** Accumulates as text: the loops of a sum, its partial results, its steps. */
import { identityOf } from "../../interpreter/contraction.ts";
import { dtypeOf, type Node } from "../../ir/node.ts";
import { dotOf, quadOf, TERMS } from "../products/byte-product.ts";
import type { Ahead } from "./ahead.ts";
import type { Columns } from "./columns.ts";
import { one, only, type Text } from "./lanes.ts";
import { Quads } from "./quads.ts";
import { addLine, type Block, indexName, isSerial, newBlock, type Point, points, SHORT } from "./text.ts";
import { Totals } from "./totals.ts";
import { mulIndex, subIndex } from "../../ops/indexing.ts";
import { guardOf, spanOf } from "../edges.ts";
import { goesAlongRows } from "./turned.ts";
import { Matrix } from "./matrix.ts";
import type { Nest } from "./writing.ts";
import type { AccumulateNode, NestNode, RangeNode } from "../nests.ts";
import { firstOf, type Part, partsOf, sizeOf, wordOf } from "../products/pair-product.ts";
import { substitute } from "../substitute.ts";

interface Tools extends Nest {
  readonly lane: RangeNode | undefined;
  readonly columns: Columns | undefined;
  readonly ahead: Ahead;
  /** The text that stands for a node's value, as seen from a block. */
  readonly value: (n: Node, at: Block) => Text;
  /** The node where ranges have the values of each of these points. */
  readonly instancesOf: (n: Node, all: readonly Point[]) => Node[];
  /** Names for a value's parts, whose definitions are added to the lines. */
  readonly named: (n: Node, text: Text, lines: string[]) => Text;
}

const nowhere: Point = new Map();

const isShort = ({ attr }: RangeNode): boolean => attr.extent <= SHORT;

/** A guard as text. Where loops are written out it is decided by the compiler. */
const conditionOf = (index: string, { from, to }: { readonly from: number; readonly to: number }): string =>
  `${index} >= ${from} && ${index} < ${to}`;

export class Sums {
  readonly #nest: Tools;
  readonly #totals: Totals;
  readonly #quads: Quads | undefined;
  readonly #matrix: Matrix | undefined;

  constructor(nest: Tools) {
    this.#nest = nest;
    const { writing, lane, lanes, reach, place, newName } = nest;
    const { language, needs, helper } = writing;
    this.#matrix = lane && writing.matrix ? new Matrix(nest, lane) : undefined;
    this.#totals = new Totals(lanes, lane, helper);
    this.#quads =
      lane &&
      new Quads({
        language,
        needs,
        lane,
        reach,
        ahead: this.#nest.ahead,
        at: (n, places) => substitute([n], { range: (r) => places.get(r) })[0] as Node,
        place,
        scalar: (n, at) => only(nest.value(n, at)),
        newName: () => newName("v"),
      });
  }

  /** The rows of a nest that is a tile of matrix registers: they are a loop. */
  rowsOf(nest: NestNode): RangeNode | undefined {
    return this.#matrix?.rowsOf(nest);
  }

  /** The loops of an accumulate, which others of its level share, then its partial results as one. */
  of(n: AccumulateNode, at: Block): Text {
    const { language } = this.#nest.writing;
    const dtype = dtypeOf(n);
    const ranges = n.src.slice(1).filter((r): r is RangeNode => r.op === "range");
    const identity = one(language.literal(identityOf(n.attr.kind, dtype), dtype));
    if (ranges.some((r) => r.attr.extent === 0)) return identity;
    const tile = this.#matrix?.of(n, at);
    if (tile) return tile;
    const home = this.#nest.reach.home(n, at);
    const level = this.#nest.reach.levelOf(n);
    const serial = ranges.filter(isSerial);
    const last = serial.at(-1);
    const four = this.#ofBytes(n, ranges, home, level);
    if (four) return four;
    const words = this.#ofWords(n, ranges, home, level);
    if (words) return words;
    const written =
      last && this.#nest.lane && goesAlongRows(n.src[0] as Node, last, this.#nest.lane) ? points([last]) : undefined;
    const inside = this.#loops(home, level - 1, written ? serial.slice(0, -1) : serial, n);
    const isAcross = this.#nest.lane !== undefined && ranges.includes(this.#nest.lane);
    const side = ranges.filter((r) => !isSerial(r));
    const sides = points(side.filter((r) => r !== this.#nest.lane));
    if (this.#nest.lane && n.attr.product) this.#nest.ahead.window(n.src[0] as Node, inside, this.#nest.place);
    const rows = this.#nest.instancesOf(n.src[0] as Node, sides).map((value) => {
      const steps = this.#nest.instancesOf(value, written ?? [nowhere]);
      if (written) this.#nest.columns?.find(steps);
      const isVector = isAcross || this.#nest.reach.varies(value);
      const first = isVector ? this.#nest.lanes.repeat(identity, dtype) : identity;
      if (inside === home) return steps.reduce((sum, step) => this.#step(n, sum, step, inside), first);
      const type =
        first.element === undefined ? this.#nest.writing.typeOf(dtype) : this.#nest.lanes.type(first.element);
      const running = { ...first, parts: first.parts.map(() => this.#nest.newName("a")) };
      first.parts.forEach((part, i) => {
        addLine(home, level - 1, language.variable(type, running.parts[i] as string, part));
      });
      for (const step of steps) {
        const next = this.#step(n, running, step, inside);
        const guard = last && isShort(last) ? guardOf(n, step, last) : undefined;
        next.parts.forEach((part, i) => {
          const line = `${running.parts[i]} = ${part};`;
          const guarded = last && guard ? `if (${conditionOf(indexName(last), guard)}) { ${line} }` : line;
          addLine(inside, this.#nest.reach.levelOf(step), guarded);
        });
      }
      return running;
    });
    if (!isAcross) return this.#totals.halves(n.attr.kind, rows, dtype);
    return this.#across(n, rows, side, home, level);
  }

  /** Partial results whose lanes are partial results too, as one. */
  #across(n: AccumulateNode, rows: readonly Text[], side: readonly RangeNode[], home: Block, level: number): Text {
    return this.#totals.across(n.attr.kind, rows, side, dtypeOf(n), (text) => {
      const lines: string[] = [];
      const named = this.#nest.named(n, text, lines);
      for (const line of lines) addLine(home, level, line);
      return named;
    });
  }

  /** A sum of products of bytes, four of which are one step. */
  #ofBytes(n: AccumulateNode, ranges: readonly RangeNode[], home: Block, level: number): Text | undefined {
    const quad = quadOf(n);
    const { language } = this.#nest.writing;
    const [value] = n.src as [Node];
    if (!quad || !this.#quads || !this.#nest.reach.varies(value) || this.#nest.stored.size === 0) return undefined;
    const { lane } = this.#nest;
    const serial = ranges.filter((r) => r !== quad && r !== lane);
    const last = serial.at(-1);
    const isWritten = last !== undefined && last.attr.extent <= SHORT;
    if (!serial.every(isSerial)) return undefined;
    const steps = this.#nest.instancesOf(value, isWritten ? points([last]) : [nowhere]);
    if (!this.#quads.takes(steps, quad)) return undefined;
    this.#quads.find(steps, quad);
    const inside = this.#loops(home, level - 1, isWritten ? serial.slice(0, -1) : serial, n);
    const first = this.#nest.lanes.repeat(one(language.literal(0, "i32")), "i32");
    const name = this.#nest.newName("a");
    const running = { ...first, parts: [name] };
    addLine(home, level - 1, language.variable(this.#nest.lanes.type("i32"), name, only(first)));
    for (const step of steps) {
      const next = this.#quads.step(n, running, step, quad, inside);
      addLine(inside, this.#nest.reach.levelOf(step), `${name} = ${only(next)};`);
    }
    return lane && ranges.includes(lane) ? this.#across(n, [running], [lane], home, level) : running;
  }

  /** A sum of products of words of bf16 or of bytes, each of which is one step. */
  #ofWords(n: AccumulateNode, ranges: readonly RangeNode[], home: Block, level: number): Text | undefined {
    const inWord = partsOf(n);
    const { lane, lanes, writing, reach, stored } = this.#nest;
    const [value] = n.src as [Node];
    const dtype = dtypeOf(n);
    const serial = ranges.filter((r) => r !== inWord);
    const last = serial.at(-1);
    if (!inWord || !lane || !last || !reach.varies(value) || stored.size === 0 || !serial.every(isSerial))
      return undefined;
    if (!lanes.isWhole(dtype)) return undefined;
    const written = goesAlongRows(value, last, lane) ? points([last]) : undefined;
    const steps = this.#nest.instancesOf(value, written ?? [nowhere]);
    if (written) this.#nest.columns?.find(steps);
    const inside = this.#loops(home, level - 1, written ? serial.slice(0, -1) : serial, n);
    const name = this.#nest.newName("a");
    const zero = only(lanes.repeat(one(writing.language.literal(0, dtype)), dtype));
    addLine(home, level - 1, writing.language.variable(lanes.type(dtype), name, zero));
    for (const step of steps) addLine(inside, reach.levelOf(step), `${name} = ${this.#dot(name, step, inside)};`);
    return { element: dtype, parts: [name] };
  }

  /** A sum and the products of two words. */
  #dot(sum: string, { src }: Node, inside: Block): string {
    const { lanes, writing } = this.#nest;
    const words = src.map((s) => wordOf(s) as NonNullable<ReturnType<typeof wordOf>>);
    const textOf = (of: Node): string =>
      this.#beside(of, inside) ?? only(lanes.repeat(this.#nest.value(of, inside), "i32"));
    const [x, y] = words.map(({ of }) => textOf(of)) as [string, string];
    const [a, b] = words.map(({ part }) => part) as [Part, Part];
    if (a === "bf16" || b === "bf16")
      return `${writing.needs.vector("dot2", "f32", "f32", lanes.width)}(${sum}, ${x}, ${y})`;
    const { op, isTurned } = dotOf([a, b]);
    const bytes = writing.needs.type("u8", TERMS * lanes.width);
    const args = (isTurned ? [y, x] : [x, y]).map((text) => writing.language.vectors?.reinterpret(bytes, text));
    return `${writing.needs.vector(op, "i32", "i32", lanes.width)}(${[sum, ...args].join(", ")})`;
  }

  /** The words of all lanes, which lie beside each other, as one vector of memory. */
  #beside(word: Node, at: Block): string | undefined {
    const { lane, lanes, reach, ahead, place } = this.#nest;
    const load = firstOf(word);
    if (!load || !lane) return undefined;
    const [buffer, index] = load.src as [Node, Node];
    if (reach.stepOf(index) !== sizeOf(load)) return undefined;
    const first = subIndex(index, mulIndex(lane, sizeOf(load)));
    ahead.blocks(load, first, at, place);
    return lanes.loadFirst(place(buffer, first, at).join(" + "), "i32", lanes.width);
  }

  #loops(home: Block, level: number, ranges: readonly RangeNode[], sum: AccumulateNode): Block {
    let block = home;
    ranges.forEach((r, at) => {
      const siblings = (block.loops[level] ??= []);
      let next = siblings.find((b) => b.range === r);
      if (!next) siblings.push((next = newBlock(r, block)));
      this.#bound(next, block, r, ranges.slice(at), sum);
      block = next;
    });
    return block;
  }

  /** Says where the loop of a sum begins and ends, if it leaves zeros out. Short innermost ones are written out whole. */
  #bound(loop: Block, around: Block, r: RangeNode, inside: readonly RangeNode[], sum: AccumulateNode): void {
    const isKnown = (atom: Node): boolean => {
      const free = this.#nest.reach.freeOf(atom);
      return !this.#nest.reach.varies(atom) && !inside.some((own) => free.has(own));
    };
    const span = inside.length === 1 && isShort(r) ? undefined : spanOf(sum, r, isKnown);
    const { select } = this.#nest.writing.language;
    const text = (bound: Node): string => only(this.#nest.value(bound, around));
    const begin = span?.begin && text(span.begin);
    const end = span?.end && text(span.end);
    loop.begins.add(begin && select(`${begin} > 0`, begin, "0"));
    loop.ends.add(end && select(`${end} < ${r.attr.extent}`, end, `${r.attr.extent}`));
  }

  #step({ attr }: AccumulateNode, running: Text, value: Node, inside: Block): Text {
    const dtype = dtypeOf(value);
    if (this.#nest.writing.fused && attr.product && (dtype === "f32" || dtype === "f64")) {
      const products = value.op === "add" ? value.src : [value];
      if (products.every((p) => p.op === "mul"))
        return products.reduce((sum, p) => this.#fused(sum, p, inside), running);
    }
    return this.#totals.combined(attr.kind, running, this.#nest.value(value, inside), dtype);
  }

  /** A sum and a product, rounded once. */
  #fused(sum: Text, product: Node, inside: Block): Text {
    const dtype = dtypeOf(product);
    const factors = product.src.map((s) => this.#nest.value(s, inside));
    if (sum.element !== undefined) return this.#nest.lanes.apply("fma", dtype, [...factors, sum]);
    return one(`${this.#nest.writing.helper("fma", dtype, dtype)}(${[...factors, sum].map(only).join(", ")})`);
  }
}
