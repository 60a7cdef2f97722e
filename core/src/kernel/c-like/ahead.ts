/** What a nest asks of memory before it needs it: rows that no processor foresees, where results go, and narrow numbers that are read as fast
 *  as they come. */
import type { CLike } from "./c-like.ts";
import { pathTo, type Reach } from "./reach.ts";
import { addLine, type Block, indexName, SHORT } from "./text.ts";
import { byteSize, dtypes } from "../../ir/dtype.ts";
import { dtypeOf, type Node } from "../../ir/node.ts";
import { accumulatesIn, loadsIn, type RangeNode, type StoreNode } from "../nests.ts";
import { substitute } from "../substitute.ts";
import { addIndex, affine, constIndex, mulIndex, subIndex } from "../../ops/indexing.ts";

/** A loop over more bytes than this asks for what it reads so many bytes ahead. */
const longStream = 2048;
const ahead = 512;
/** Narrow numbers are decoded in less time than memory answers in: so many bytes of them, or up to three times as many, are asked for before they are
 *  read. It is a quarter of a first cache. */
const inFlight = 8192;
/** Rows side by side that are too few to be many things to wait for at a time are asked for one behind the other. */
const fewRows = 2;
/** Bytes that a window's panels are asked for ahead, where they are at least so many: more than a page, where a processor begins anew. */
const panelAhead = 8192;
const largePanels = 2 ** 18;
/** A tile of more bytes than this would drive out what is worked on. */
const largeTile = 2 ** 16;
/** Rows at least so many bytes apart are soon on other pages, which no processor foresees. */
const farApart = 1024;

/** Fewer results of a tile, or of shorter sums, are not worth asking for. */
const fewResults = 8;
const fewSteps = 64;
const lineBytes = 64;

/** A buffer's name, or a pointer into it, and the index behind it. */
type Placing = (buffer: Node, index: Node, at: Block) => readonly [string, string];

const isReduced = (r: RangeNode | undefined): boolean => r?.attr.kind === "reduce";

/** Where a load's lanes lie. */
interface Where {
  readonly index: Node;
  readonly first: Node;
  readonly pointer: string;
  readonly place: (index: Node) => readonly [string, string];
}

export class Ahead {
  readonly #language: CLike;
  readonly #reach: Reach;
  /** Lanes of a vector. */
  readonly #width: number;
  /** What was asked for of memory behind a pointer. */
  readonly #asked = new Map<Block, Map<string, number[]>>();
  /** Buffers of which a loop reads a block after the other, and where those begin that were asked for. */
  readonly #streams = new Map<Block, Map<Node, number[]>>();

  constructor(language: CLike, reach: Reach, width: number) {
    this.#language = language;
    this.#reach = reach;
    this.#width = width;
  }

  /** Asks for what a load reads next, where no processor foresees it.
   *  @param where  `first` is the index of the first lane, to which `pointer` points */
  ask(load: Node, { index, first, pointer, place }: Where, at: Block): void {
    const home = this.#reach.home(load, at);
    if (pathTo(home).some((block) => this.#streams.get(block)?.has(load.src[0] as Node))) return;
    if (this.rows(load, index, pointer, at)) return;
    this.tiles(load, home)?.(pointer);
    this.narrow(load, first, place, at);
    this.panels(load, index, pointer, at);
  }

  /** Asks for where a tile's results go, and for what they are made of besides sums, before these begin; it is read behind them. Where
   *  lanes lie far apart it is as near without. */
  results(instances: readonly (readonly StoreNode[])[], at: Block, place: Placing): void {
    const stores = instances.flat();
    const sums = accumulatesIn(stores);
    const steps = sums.map((sum) => (sum.src.slice(1) as RangeNode[]).reduce((n, r) => n * r.attr.extent, 1));
    if (instances.length < fewResults || sums.length === 0 || Math.min(...steps) < fewSteps) return;
    const inSums = new Set(loadsIn(sums));
    const beside = ({ src: [, index] }: Node): boolean => this.#reach.stepOf(index as Node) === 1;
    const late = loadsIn(stores).filter(
      (load) => !inSums.has(load) && load.src.length === 2 && beside(load) && this.#reach.home(load, at) === at,
    );
    for (const load of late) this.#reach.delay(load);
    const places = (all: readonly Node[]): [Node, Node][] => all.map(({ src }) => [src[0] as Node, src[1] as Node]);
    this.#lines(places(late), at, "read", place);
    this.#lines(places(stores.filter(beside)), at, "written", place);
  }

  /** Asks for those rows of an image that windows of the next iteration along the image are the first to see. */
  window(value: Node, inside: Block, place: Placing): void {
    const path = pathTo(inside);
    const inner = path.findIndex(({ range, parent }) => isReduced(range) && isReduced(parent?.range));
    for (const load of loadsIn([value])) {
      const [buffer, index] = load.src as [Node, Node];
      const { terms } = affine(index);
      const at = (r: RangeNode | undefined): number => (r && terms.get(r)) ?? 0;
      const along = path.slice(inner).find(({ range }) => at(range) >= this.#width);
      const step = at(along?.range);
      const over = path.findLast(({ range }) => range && !isReduced(range) && at(range) > 0 && at(range) % step === 0);
      const [window, image] = [along, over].map((block) => block?.range?.attr.extent ?? 0) as [number, number];
      const rows = at(over?.range) / step;
      const isKnown = [...this.#reach.freeOf(load)].every(
        (r) => this.#reach.varies(r) || path.some((b) => b.range === r),
      );
      const isNear = !this.#reach.varies(index) || this.#reach.stepOf(index) === 1;
      if (inner < 0 || !along?.parent || !isKnown || !isNear) continue;
      if (window > SHORT || image < window || rows > window) continue;
      const ranges = path.slice(path.indexOf(along)).flatMap(({ range }) => range ?? []);
      const first = ranges.reduce((from, r) => subIndex(from, mulIndex(r, at(r))), index);
      const next = Array.from({ length: rows }, (_, row) => addIndex(first, constIndex((window + row) * step)));
      const touched = next.map((row): [Node, Node] => [buffer, row]);
      this.#lines(touched, along.parent, "read", place);
    }
  }

  /** Asks for cache lines, at most once for each. */
  #lines(
    touched: readonly (readonly [buffer: Node, index: Node])[],
    at: Block,
    to: "read" | "written",
    place: Placing,
  ): void {
    const { prefetch } = this.#language;
    const asked = this.#asked.get(at) ?? new Map<string, number[]>();
    this.#asked.set(at, asked);
    for (const [buffer, index] of touched) {
      const [base, offset] = place(buffer, this.#reach.firstLane(index), at);
      const line = lineBytes / byteSize(dtypeOf(buffer), 1);
      const known = asked.get(base) ?? [];
      asked.set(base, known);
      if (!prefetch || known.some((other) => Math.abs(other - Number(offset)) < line)) continue;
      known.push(Number(offset));
      addLine(at, 0, prefetch(`${base} + ${offset}`, to));
    }
  }

  /** Asks for rows under each other; a processor foresees by itself what lies side by side.
   *  @returns whether it does */
  rows(load: Node, index: Node, place: string, at: Block): boolean {
    const home = this.#reach.home(load, at);
    const stride = (home.range && affine(index).terms.get(home.range)) ?? 0;
    if (stride * byteSize(dtypeOf(load), 1) < farApart) return false;
    const ask = this.stream(load, home, stride);
    ask?.(place);
    return ask !== undefined;
  }

  /** Asks for what a window's sums read of packed weights, side by side and once. */
  panels(load: Node, index: Node, place: string, at: Block): void {
    const { prefetch } = this.#language;
    const home = this.#reach.home(load, at);
    const free = this.#reach.freeOf(load);
    const path = pathTo(home).flatMap(({ range }) => range ?? []);
    const [outer, inner] = path.slice(-2);
    if (!prefetch || !outer || !inner || !path.every((r) => free.has(r))) return;
    if (outer.attr.kind !== "reduce" || inner.attr.kind !== "reduce") return;
    const { terms } = affine(index);
    const [bytes, step] = [byteSize(dtypeOf(load), 1), terms.get(inner) ?? 0];
    const isOneRow = bytes > 2 && step === this.#width && terms.get(outer) === step * inner.attr.extent;
    const all = path.reduce((n, r) => n * r.attr.extent, step * bytes);
    if (isOneRow && all >= largePanels)
      addLine(home, this.#reach.levelOf(load), prefetch(`${place} + ${panelAhead / bytes}`));
  }

  /** How a long loop asks for what it reads next of rows of memory, each `step` elements on; undefined unless each element is read once:
   *  what other loops read again is near. */
  stream(load: Node, home: Block, step: number): ((place: string) => void) | undefined {
    const { prefetch } = this.#language;
    const { range } = home;
    const free = this.#reach.freeOf(load);
    if (!prefetch || !range || !pathTo(home).every((b) => !b.range || free.has(b.range))) return undefined;
    const size = byteSize(dtypeOf(load), 1);
    if (step * size * range.attr.extent < longStream) return undefined;
    // As many iterations as would read so much of memory side by side.
    const iterations = Math.ceil(ahead / (this.#width * size));
    const on = iterations * step;
    const { extent } = range.attr;
    // The last ones ask for what the next iteration of the loop around this one begins with.
    const next = home.parent?.range && affine(load.src[1] as Node).terms.get(home.parent.range);
    const end = next === undefined ? on : on + next - extent * step;
    const distance =
      iterations < extent && range.attr.kind === "reduce"
        ? `(${indexName(range)} < ${extent - iterations} ? ${on} : ${end})`
        : String(on);
    return (place) => addLine(home, this.#reach.levelOf(load), prefetch(`${place} + ${distance}`, "once"));
  }

  /** How a nest that reads each element of a tile once asks for the next tile, which a loop around the nest goes on to. */
  tiles(load: Node, home: Block): ((place: string) => void) | undefined {
    const { prefetch } = this.#language;
    const free = this.#reach.freeOf(load);
    const path = pathTo(home).flatMap(({ range }) => range ?? []);
    if (!prefetch || path.length === 0 || !path.every((r) => free.has(r))) return undefined;
    const steps = [...affine(load.src[1] as Node).terms].flatMap(([atom, step]) =>
      atom.op === "range" && atom.attr.kind === "outer" && step > 0 ? [step] : [],
    );
    if (steps.length === 0) return undefined;
    const step = Math.min(...steps);
    const bytes = step * byteSize(dtypeOf(load), 1);
    if (bytes < longStream || bytes > largeTile) return undefined;
    return (place) => addLine(home, this.#reach.levelOf(load), prefetch(`${place} + ${step}`));
  }

  /** Asks for a block of coming iterations, where each reads one, piece by piece, behind that of the one before.
   *  @param first  of the load's lanes */
  blocks(load: Node, first: Node, at: Block, place: Placing): void {
    const { prefetch } = this.#language;
    const [buffer, index] = load.src as [Node, Node];
    const { terms } = affine(index);
    const path = pathTo(this.#reach.home(load, at));
    const home = path.findLast(({ range }) => range && (terms.get(range) ?? 0) > 0);
    const around = path.flatMap(({ range }) => (range && !isReduced(range) ? range : []));
    // What each iteration of the loops around reads again is near.
    const isAgain = around.length > 0 && !around.some((range) => this.#reach.freeOf(load).has(range));
    if (!prefetch || !home?.range || isAgain) return;
    // Loops over parts of a block: each asks for a part.
    const parts = path.slice(path.indexOf(home) + 1);
    const inside = parts.flatMap(({ range }) => range ?? []);
    const [start] = substitute([first], { range: (r) => (inside.includes(r) ? constIndex(0) : undefined) });
    const step = terms.get(home.range) ?? 0;
    const size = byteSize(dtypeOf(load), 1);
    const bytes = step * size;
    const [base, offset] = place(buffer, start as Node, home);
    const known = this.#streams.get(home) ?? new Map<Node, number[]>();
    const begun = known.get(buffer) ?? [];
    if (bytes < lineBytes || begun.some((other) => Math.abs(other - Number(offset)) < step)) return;
    this.#streams.set(home, known.set(buffer, [...begun, Number(offset)]));
    const on = Number(offset) + step * Math.ceil(inFlight / bytes);
    const [of, ...more] = inside;
    const [block, count] = of && more.length === 0 ? [parts.at(-1) as Block, of.attr.extent] : [home, 1];
    const behind = of && block !== home ? ` + ${indexName(of)} * ${step / count}` : "";
    for (let line = 0; line < bytes / count; line += lineBytes)
      addLine(block, this.#reach.levelOf(load), prefetch(`${base} + ${on + line / size}${behind}`, "once"));
  }

  /** Asks memory for what coming iterations of the loop around a sum will read of narrow numbers: they are read so fast that a processor
   *  that notices by itself comes late.
   *  @param place  a pointer to an element, and the offset behind it */
  narrow(load: Node, index: Node, place: (index: Node) => readonly [string, string], at: Block): void {
    const { prefetch } = this.#language;
    const home = this.#reach.home(load, at);
    if (!prefetch || home.range?.attr.kind !== "reduce" || dtypes[dtypeOf(load)].bytes > 2) return;
    const path = pathTo(home).flatMap(({ range }) => range ?? []);
    const { terms, constant } = affine(index);
    const along = path.find(({ attr }) => attr.kind === "reduce");
    const around = path.findLast(({ attr }) => attr.kind !== "reduce");
    const [step = 0, stride = 0] = [along, around].map((range) => range && terms.get(range));
    if (!along || stride <= 0) return;
    const ask = (of: Node, on: string | number): void =>
      addLine(home, this.#reach.levelOf(load), prefetch(`${place(of).join(" + ")} + ${on}`));
    const size = byteSize(dtypeOf(load), 1);
    const bytes = stride * size;
    const iterationsOn = stride * Math.ceil(inFlight / bytes);
    const row = step * along.attr.extent;
    const rows = stride / row;
    // One row behind the other is a stream, of which nothing is read again: each of its lines is asked for once.
    if (step > 0 && rows === 1) {
      const { range } = home;
      const inLine = terms.get(range) ?? 0;
      const isLine =
        inLine > 0 && home.parent?.range?.attr.kind === "reduce" && inLine * size * range.attr.extent <= lineBytes;
      const line = isLine ? subIndex(index, mulIndex(range, inLine)) : index;
      const text = prefetch(`${place(line).join(" + ")} + ${inFlight / size}`, "once");
      return addLine(isLine && home.parent ? home.parent : home, this.#reach.levelOf(load), text);
    }
    if (step > 0 && rows === fewRows) {
      const inRow = path
        .filter(({ attr }) => attr.kind === "reduce")
        .map((range): [Node, number] => [range, terms.get(range) ?? 0]);
      const number = Math.floor(constant / row);
      const shift = number * (this.#width - row) + (rows - 1) * (constant % row);
      const further = inRow.reduce((sum, [range, by]) => addIndex(sum, mulIndex(range, (rows - 1) * by)), index);
      return ask(addIndex(further, constIndex(shift)), iterationsOn);
    }
    if (bytes <= 3 * inFlight || step <= 0) return ask(index, iterationsOn);
    // Rows of the next iteration would be gone again before they are read: further on in each of these, which lie within the stride.
    const { extent } = along.attr;
    const iterations = Math.ceil((inFlight / bytes) * extent);
    const on = iterations * step;
    ask(index, `(${indexName(along)} < ${extent - iterations} ? ${on} : ${on + stride - extent * step})`);
  }
}
