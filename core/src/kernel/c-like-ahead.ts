/** What a nest asks of memory before it reads it: rows that no processor foresees, and narrow numbers that are read as fast as they come. */
import type { CLike } from "./c-like.ts";
import { pathTo, type Reach } from "./c-like-reach.ts";
import { addLine, type Block, indexName } from "./c-like-text.ts";
import { byteSize, dtypes } from "../ir/dtype.ts";
import { dtypeOf, type Node } from "../ir/node.ts";
import { addIndex, affine, constIndex, mulIndex } from "../ops/indexing.ts";

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

  constructor(language: CLike, reach: Reach, width: number) {
    this.#language = language;
    this.#reach = reach;
    this.#width = width;
  }

  /** Asks for what a load reads next, where no processor foresees it.
   *  @param where  `first` is the index of the first lane, to which `pointer` points */
  ask(load: Node, { index, first, pointer, place }: Where, at: Block): void {
    if (this.rows(load, index, pointer, at)) return;
    this.tiles(load, this.#reach.home(load, at))?.(pointer);
    this.narrow(load, first, place, at);
    this.panels(load, index, pointer, at);
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
    return (place) => addLine(home, this.#reach.levelOf(load), prefetch(`${place} + ${distance}`, true));
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
    const bytes = stride * byteSize(dtypeOf(load), 1);
    const iterationsOn = stride * Math.ceil(inFlight / bytes);
    const row = step * along.attr.extent;
    const rows = stride / row;
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
