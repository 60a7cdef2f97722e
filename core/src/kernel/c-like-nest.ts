/** One nest as text: loops, named values, accumulators, masks.
 *
 *  Every value gets a name in the outermost loop where it is known. Instances of unrolled ranges are written out, each with
 *  accumulators of its own, so that the language's compiler may keep them in registers. Lanes of the vector range are vectors
 *  where the language has them, and instances where it has none. */
import { Ahead } from "./c-like-ahead.ts";
import { valuesOf } from "./c-like-codes.ts";
import { identityOf } from "../interpreter/contraction.ts";
import type { DType } from "../ir/dtype.ts";
import { topological } from "../ir/fn.ts";
import { dtypeOf, type Node, tensorTypeOf } from "../ir/node.ts";
import { affine, constIndex, subIndex } from "../ops/indexing.ts";
import type { CLike } from "./c-like.ts";
import { quadOf } from "./byte-product.ts";
import { Quads } from "./c-like-quads.ts";
import { Lanes, type Needs, one, only, type ScalarOp, type Text } from "./c-like-lanes.ts";
import { runsOf } from "./c-like-copies.ts";
import { pathTo, Reach } from "./c-like-reach.ts";
import { type Column, columnsIn, goesAlongRows, turned } from "./c-like-turned.ts";
import {
  addLine,
  type Block,
  fail,
  indexName,
  isSerial,
  linesOf,
  newBlock,
  operators,
  outputLoops,
  type Point,
  points,
} from "./c-like-text.ts";
import { Totals } from "./c-like-totals.ts";
import { type AccumulateNode, loadsIn, type NestNode, type RangeNode, type StoreNode } from "./nests.ts";
import { substitute, substitutions } from "./substitute.ts";

/** A text in the making: the language, and the helpers that it turns out to need. */
export interface Writing {
  readonly language: CLike;
  readonly fused: boolean;
  readonly typeOf: (dtype: DType) => string;
  /** The name of a helper, which is then defined. */
  readonly helper: (op: ScalarOp, dtype: DType, from: DType) => string;
  readonly needs: Needs;
}

/** The iterations of shared loops that are to be run, as expressions. */
export interface Share {
  readonly begin: string;
  readonly end: string;
}

/** Index arithmetic up to this length stands where it is used. */
const shortText = 40;
/** Nodes of a nest whose innermost loop may be written out. */
const longest = 100;
const widths: ReadonlySet<number> = new Set([2, 4, 8, 16, 32]);

/** Loops of a sum of at most so many steps are to have no loop at run time: what depends on the step alone is then known. */
const SHORT = 8;

export class NestText {
  readonly #arguments: ReadonlyMap<Node, string>;
  readonly #context: Writing;
  readonly #root = newBlock();
  /** Buffers that the nest writes: what is loaded from them is loaded where it is used. */
  readonly #stored: ReadonlySet<Node>;
  readonly #readsOwn: boolean;
  /** The iterations that its parallel loops run; absent where they run all. */
  readonly #share: Share | undefined;
  readonly #lane: RangeNode | undefined;
  readonly #lanes: Lanes;
  readonly #reach: Reach;
  readonly #ahead: Ahead;
  readonly #totals: Totals;
  readonly #quads: Quads | undefined;
  /** Loads that are columns of blocks, and the names of the columns of each block where they are known. */
  readonly #columns = new Map<Node, Column>();
  readonly #turned = new Map<Block, Map<Node, readonly string[]>>();
  #count = 0;

  constructor(
    stores: readonly StoreNode[],
    args: ReadonlyMap<Node, string>,
    context: Writing,
    share: Share | undefined,
  ) {
    this.#arguments = args;
    this.#share = share;
    this.#context = context;
    this.#stored = new Set(stores.map((s) => s.src[0] as Node));
    this.#readsOwn = loadsIn(stores).some((load) => this.#stored.has(load.src[0] as Node));
    const { vectors } = context.language;
    this.#lane =
      vectors &&
      topological(stores).find(
        (r): r is RangeNode => r.op === "range" && r.attr.kind === "vector" && widths.has(r.attr.extent),
      );
    this.#lanes = new Lanes(this.#lane?.attr.extent ?? 1, vectors, context.needs);
    this.#reach = new Reach(this.#lane, this.#lanes.hasCodes);
    this.#ahead = new Ahead(context.language, this.#reach, this.#lanes.width);
    this.#totals = new Totals(this.#lanes, this.#lane, context.helper);
    this.#quads =
      this.#lane &&
      new Quads({
        language: context.language,
        needs: context.needs,
        lane: this.#lane,
        reach: this.#reach,
        at: (n, places) => substitute([n], { range: (r) => places.get(r) })[0] as Node,
        place: (buffer, index, at) => this.#place(buffer, index, at, undefined),
        newName: () => `v${this.#count++}`,
      });
  }

  /** An i32 scalar, and the lines before it. */
  scalar(node: Node): { readonly lines: readonly string[]; readonly value: string } {
    const value = only(this.#value(node, this.#root));
    return { lines: this.#text([]), value };
  }

  lines(nest: NestNode): string[] {
    const outputs = outputLoops(nest);
    if (outputs.some((r) => r.attr.extent === 0)) return [];
    let at = this.#root;
    const serial = outputs.filter(isSerial);
    const written = this.#isWritten(nest, serial.at(-1)) ? serial.splice(-1) : [];
    for (const r of serial) at = at.inner = newBlock(r, at);
    const instances = points([...outputs.filter((r) => this.#isUnrolled(r)), ...written]);
    const stores = this.#instances(nest.src, instances) as StoreNode[][];
    const level = nest.src.reduce((most, store) => Math.max(most, this.#reach.levelOf(store)), 0);
    this.#findColumns(stores.flat());
    const { copy } = this.#context.language;
    const runs = copy && !this.#lane ? runsOf(stores) : stores.map((instance) => ({ instance, copies: 1 }));
    for (const { instance, copies } of runs)
      if (copy && copies > 1) addLine(at, level, this.#copies(instance[0] as StoreNode, copies, at, copy));
      else this.#stores(instance, at, level);
    const shared = outputs.filter((r) => r.attr.kind === "parallel");
    return ["{", ...this.#text(shared).map((line) => `  ${line}`), "}"];
  }

  #copies({ src }: StoreNode, count: number, at: Block, copy: NonNullable<CLike["copy"]>): string {
    const [buffer, index, value] = src as [Node, Node, Node];
    const pointer = (of: Node, to: Node): string => this.#place(of, to, at, undefined).join(" + ");
    return copy(pointer(buffer, index), pointer(value.src[0] as Node, value.src[1] as Node), count, dtypeOf(buffer));
  }

  /** Whether the innermost loop is written out, so that what it reads along rows is read in blocks. */
  #isWritten(nest: NestNode, loop: RangeNode | undefined): boolean {
    const lane = this.#lane;
    if (!lane || loop?.attr.kind !== "loop" || this.#reach.levelOf(nest.src[0] as Node) > 0) return false;
    if (this.#readsOwn) return false;
    return topological(nest.src).length <= longest && nest.src.some((s) => goesAlongRows(s.src[2] as Node, loop, lane));
  }

  #isUnrolled(r: RangeNode): boolean {
    return r !== this.#lane && !isSerial(r);
  }

  #findColumns(roots: readonly Node[]): void {
    if (!this.#lane) return;
    for (const [load, column] of columnsIn(roots, this.#lane))
      if (!this.#stored.has(load.src[0] as Node) && this.#lanes.isWhole(dtypeOf(load))) this.#columns.set(load, column);
  }

  /** The nodes where ranges have the values of each of these points, all of the same ranges. */
  #instances(roots: readonly Node[], all: readonly Point[]): Node[][] {
    const ranges = [...(all[0] ?? nowhere).keys()];
    if (ranges.length === 0) return all.map(() => [...roots]);
    const stays = new Set<Node>();
    const at = substitutions(roots, (n) => {
      const free = this.#reach.freeOf(n);
      const varies = ranges.some((r) => free.has(r));
      if (!varies) stays.add(n);
      return varies;
    });
    return all.map((point) =>
      at({
        range: (r) => {
          const value = point.get(r);
          return value === undefined ? undefined : constIndex(value);
        },
        node: (n) => (stays.has(n) ? n : undefined),
      }),
    );
  }

  #instancesOf(n: Node, all: readonly Point[]): Node[] {
    return this.#instances([n], all).map(([one]) => one as Node);
  }

  /** The node in each lane. */
  #inLanes(n: Node): Node[] {
    return this.#instancesOf(n, points(this.#lane ? [this.#lane] : []));
  }

  #text(shared: readonly RangeNode[]): string[] {
    const { language } = this.#context;
    return linesOf(this.#root, (range) => {
      const { extent, kind } = range.attr;
      if (this.#share && kind === "parallel") return sharedLoop(language, this.#share, shared, range);
      const loop = language.loop(indexName(range), extent);
      return kind === "reduce" && extent <= SHORT && language.unrolled ? language.unrolled(loop, extent) : loop;
    });
  }

  #stores(instance: readonly StoreNode[], at: Block, level: number): void {
    // A store may lie over what another value of the instance reads: all values are made before the first.
    const own: Own = { names: new Map(), lines: [] };
    const all = instance.flatMap((s) => this.#store(s, at, own));
    for (const line of [...own.lines, ...all]) addLine(at, level, line);
  }

  #store(node: StoreNode, at: Block, own: Own): string[] {
    const { language } = this.#context;
    const [buffer, index, value, mask] = node.src as [Node, Node, Node, Node | undefined];
    const dtype = dtypeOf(buffer);
    const stored = this.#value(value, at, own);
    const condition = mask && this.#value(mask, at, own);
    const guarded = (text: Text | undefined, line: string): string => (text ? `if (${only(text)}) ${line}` : line);
    const isMasked = condition?.element !== undefined;
    const single = (n: Node, text: string, given: Text | undefined): string =>
      guarded(given, language.store(...this.#place(buffer, n, at, own), text, dtype));
    if (!this.#reach.varies(index) && !isMasked)
      // All lanes go to one place: the last one stays.
      return [single(index, this.#lanes.extract(stored, dtype, this.#lanes.width - 1), condition)];
    if (this.#isContiguous(index)) {
      const pointer = this.#pointerOf(buffer, index, at, own);
      const lines = this.#lanes.store(pointer, stored, dtype, isMasked ? condition : undefined);
      return lines.map((line) => guarded(isMasked ? undefined : condition, line));
    }
    return this.#inLanes(index).map((n, i) =>
      single(
        n,
        this.#lanes.extract(stored, dtype, i),
        isMasked ? one(this.#lanes.extract(condition, "bool", i)) : condition,
      ),
    );
  }

  #bufferName(buffer: Node): string {
    return (
      this.#arguments.get(buffer) ?? fail(`${buffer.op} is not one of the kernel's buffers`, "it is a kernel's own")
    );
  }

  /** Whether lanes lie side by side in memory. */
  #isContiguous(index: Node): boolean {
    const { terms } = affine(index);
    if (!this.#lane || terms.get(this.#lane) !== 1) return false;
    return [...terms.keys()].every((atom) => atom === this.#lane || !this.#reach.varies(atom));
  }

  /** What stands for elements behind the first lane's. */
  #pointerOf(buffer: Node, index: Node, at: Block, own: Own | undefined): (i: number) => string {
    const first = this.#lane ? subIndex(index, this.#lane) : index;
    const [base, offset] = this.#place(buffer, first, at, own);
    return (i) => `${base} + ${i === 0 ? offset : `${offset} + ${i}`}`;
  }

  /** A buffer's name, or that of a pointer into it, and the index behind it. */
  #place(buffer: Node, index: Node, at: Block, own: Own | undefined): readonly [string, string] {
    const { pointer } = this.#context.language;
    const pinned = own ? this.#pinned(index) : none;
    if (!pointer || pinned.size > 0) return [this.#bufferName(buffer), only(this.#value(index, at, own))];
    const { constant, terms } = affine(index);
    const homes = [...terms].map(([atom, k]) => ({ atom, k, home: this.#reach.home(atom, at) }));
    let name = this.#bufferName(buffer);
    let level = 0;
    for (const block of pathTo(at)) {
      const here = homes.filter(({ home }) => home === block);
      if (here.length === 0) continue;
      level = here.reduce((most, { atom }) => Math.max(most, this.#reach.levelOf(atom)), level);
      const offsets = here.map(({ atom, k }) => {
        const value = atom.op === "range" ? indexName(atom) : only(this.#value(atom, at));
        return k === 1 ? value : `${value} * ${k}`;
      });
      const text = `${name} + ${offsets.join(" + ")}`;
      const known = block.pointers.get(text);
      name = known ?? `p${this.#count++}`;
      if (known !== undefined) continue;
      block.pointers.set(text, name);
      addLine(block, level, pointer(dtypeOf(buffer), name, text));
    }
    return [name, String(constant)];
  }

  /** The text that stands for a node's value, as seen from the block `at`. */
  #value(root: Node, at: Block, own?: Own): Text {
    const pinned = own ? this.#pinned(root) : none;
    const find = (n: Node): Text | undefined => (pinned.has(n) ? own?.names : this.#reach.home(n, at).names)?.get(n);
    const isOpen = (m: Node): boolean => m.op !== "accumulate" && m.op !== "load" && find(m) === undefined;
    const order = topological([root], (m) => isOpen(m) && this.#reach.codeOf(m) === undefined && !this.#isPieced(m));
    for (const n of order) {
      if (n.op === "scratch" || (n.op === "param" && tensorTypeOf(n).dims.length > 0) || find(n) !== undefined)
        continue;
      const isPinned = pinned.has(n) && own !== undefined;
      const text = this.#made(n, at, (s) => find(s) as Text, own);
      const home = this.#reach.home(n, at);
      const lines: string[] = [];
      const named = isNamed(n, text) ? this.#named(n, text, lines) : text;
      (isPinned ? own.names : home.names).set(n, named);
      for (const line of lines)
        if (isPinned) own.lines.push(line);
        else addLine(home, this.#reach.levelOf(n), line);
    }
    return find(root) ?? fail(`${root.op} has no value`, "buffers are only loaded from");
  }

  /** Names for a value's parts. */
  #named(n: Node, { element, parts }: Text, lines: string[]): Text {
    const type = element === undefined ? this.#context.typeOf(dtypeOf(n)) : this.#lanes.type(element);
    const known = new Map<string, string>();
    const names = parts.map((part) => {
      const name = known.get(part) ?? `v${this.#count++}`;
      if (!known.has(part)) lines.push(this.#context.language.constant(type, name, part));
      known.set(part, name);
      return name;
    });
    return element === undefined ? { parts: names } : { element, parts: names };
  }

  /** The nodes below that read memory which the nest writes. */
  #pinned(root: Node): ReadonlySet<Node> {
    if (!this.#readsOwn) return none;
    const pinned = new Set<Node>();
    for (const n of topological([root]))
      if (n.src.some((s) => pinned.has(s)) || (n.op === "load" && this.#stored.has(n.src[0] as Node))) {
        if (n.op === "accumulate")
          fail("an accumulate reads what its own nest writes", "let a nest before it write that");
        pinned.add(n);
      }
    return pinned;
  }

  /** Whether a short float is made of bytes that lie apart from those of other lanes: each lane's are read together. */
  #isPieced(n: Node): boolean {
    if (n.op !== "bitcast" || !this.#reach.varies(n)) return false;
    const loads = loadsIn([n]);
    return loads.length > 1 && loads.every((load) => load.src.length === 2 && !this.#isContiguous(load.src[1] as Node));
  }

  #made(n: Node, at: Block, of: (n: Node) => Text, own: Own | undefined): Text {
    const { language, helper } = this.#context;
    const dtype = dtypeOf(n);
    const code = this.#reach.codeOf(n);
    if (code && this.#lane) {
      const values = this.#value(valuesOf(n, code, this.#lane), at, own);
      return this.#lanes.choice(values, this.#value(code.src[0] as Node, at, own), dtype);
    }
    if (this.#isPieced(n))
      return this.#lanes.pack(
        dtype,
        this.#inLanes(n).map((lane) => only(this.#value(lane, at, own))),
      );
    switch (n.op) {
      case "const":
        return one(language.literal(n.attr.value, n.attr.dtype));
      case "param":
        return one(
          this.#arguments.get(n) ?? fail(`parameter ${n.id} is used as a scalar, but is none`, "load from buffers"),
        );
      case "range":
        return n === this.#lane ? this.#lanes.numbers() : one(language.index(indexName(n)));
      case "load":
        return this.#load(n, at, own);
      case "accumulate":
        return this.#accumulate(n, at);
      default: {
        const args = n.src.map(of);
        if (n.op === "where") {
          const [condition, yes, no] = args as [Text, Text, Text];
          return args.every((x) => x.element === undefined)
            ? one(language.select(only(condition), only(yes), only(no)))
            : this.#lanes.select(condition, yes, no, dtype, language.select);
        }
        if (args.some((x) => x.element !== undefined)) return this.#lanes.op(n, args);
        const texts = args.map(only);
        const operator = operators[n.op];
        if (operator && args.length === 2) return one(`(${texts.join(` ${operator} `)})`);
        return one(`${helper(n.op, dtype, dtypeOf(n.src.at(-1) ?? n))}(${texts.join(", ")})`);
      }
    }
  }

  #load(n: Node, at: Block, own: Own | undefined): Text {
    const { language } = this.#context;
    const [buffer, index, mask] = n.src as [Node, Node, Node | undefined];
    const dtype = dtypeOf(n);
    const isMasked = mask !== undefined && this.#reach.varies(mask);
    if (!this.#reach.varies(index) && !isMasked) {
      const loaded = language.load(...this.#place(buffer, index, at, own), dtype);
      return one(mask ? language.select(only(this.#value(mask, at, own)), loaded, language.literal(0, dtype)) : loaded);
    }
    if (this.#isContiguous(index)) {
      const condition = mask && this.#value(mask, at, own);
      const pointer = this.#pointerOf(buffer, index, at, own);
      if (!mask && !this.#stored.has(buffer) && !this.#ahead.rows(n, index, pointer(0), at))
        this.#ahead.narrow(n, index, pointer(0), at);
      if (!condition || isMasked) return this.#lanes.load(pointer, dtype, condition);
      const lanes = this.#lanes.load(pointer, dtype);
      return this.#lanes.select(condition, lanes, one(language.literal(0, dtype)), dtype, language.select);
    }
    const column = this.#columns.get(n);
    if (column) return { element: this.#lanes.elementOf(dtype), parts: [this.#column(column, at)] };
    return this.#lanes.pack(
      dtype,
      this.#inLanes(n).map((lane) => only(this.#value(lane, at, own))),
    );
  }

  /** A column of a block, which is turned where it is first known. */
  #column({ first, place }: Column, at: Block): string {
    const home = this.#reach.home(first, at);
    const known = this.#turned.get(home) ?? new Map<Node, readonly string[]>();
    this.#turned.set(home, known);
    let names = known.get(first);
    if (!names) known.set(first, (names = this.#turn(first, home)));
    return names[place] as string;
  }

  #turn(first: Node, home: Block): string[] {
    const [buffer, index] = first.src as [Node, Node];
    const dtype = dtypeOf(first);
    const type = this.#lanes.type(this.#lanes.elementOf(dtype));
    const level = this.#reach.levelOf(first);
    const named = (text: string): string => {
      const name = `v${this.#count++}`;
      addLine(home, level, this.#context.language.constant(type, name, text));
      return name;
    };
    // All lanes go on by one block of each row.
    const ask = this.#ahead.stream(first, home, this.#lanes.width);
    const rows = this.#inLanes(index).map((row) => {
      const [base, offset] = this.#place(buffer, row, home, undefined);
      ask?.(`${base} + ${offset}`);
      return named(only(this.#lanes.load(() => `${base} + ${offset}`, dtype)));
    });
    return turned(rows, (a, b, distance, upper) => named(this.#lanes.exchange(dtype, a, b, distance, upper)));
  }

  /** The loops of an accumulate, which others of its level share, then its partial results as one. */
  #accumulate(n: AccumulateNode, at: Block): Text {
    const { language } = this.#context;
    const dtype = dtypeOf(n);
    const ranges = n.src.slice(1).filter((r): r is RangeNode => r.op === "range");
    const identity = one(language.literal(identityOf(n.attr.kind, dtype), dtype));
    if (ranges.some((r) => r.attr.extent === 0)) return identity;
    const home = this.#reach.home(n, at);
    const level = this.#reach.levelOf(n);
    const serial = ranges.filter(isSerial);
    const last = serial.at(-1);
    const four = this.#ofBytes(n, ranges, home, level);
    if (four) return four;
    const written =
      last && this.#lane && goesAlongRows(n.src[0] as Node, last, this.#lane) ? points([last]) : undefined;
    const inside = this.#loops(home, level - 1, written ? serial.slice(0, -1) : serial);
    const isAcross = this.#lane !== undefined && ranges.includes(this.#lane);
    const side = ranges.filter((r) => !isSerial(r));
    const sides = points(side.filter((r) => r !== this.#lane));
    const rows = this.#instancesOf(n.src[0] as Node, sides).map((value) => {
      const steps = this.#instancesOf(value, written ?? [nowhere]);
      if (written) this.#findColumns(steps);
      const isVector = isAcross || this.#reach.varies(value);
      const first = isVector ? this.#lanes.repeat(identity, dtype) : identity;
      if (inside === home) return steps.reduce((sum, step) => this.#step(n, sum, step, inside), first);
      const type = first.element === undefined ? this.#context.typeOf(dtype) : this.#lanes.type(first.element);
      const running = { ...first, parts: first.parts.map(() => `a${this.#count++}`) };
      first.parts.forEach((part, i) => {
        addLine(home, level - 1, language.variable(type, running.parts[i] as string, part));
      });
      for (const step of steps) {
        const next = this.#step(n, running, step, inside);
        next.parts.forEach((part, i) => {
          addLine(inside, this.#reach.levelOf(step), `${running.parts[i]} = ${part};`);
        });
      }
      return running;
    });
    if (!isAcross) return this.#totals.halves(n.attr.kind, rows, dtype);
    return this.#totals.across(n.attr.kind, rows, side, dtype, (text) => {
      const lines: string[] = [];
      const named = this.#named(n, text, lines);
      for (const line of lines) addLine(home, level, line);
      return named;
    });
  }

  /** A sum of products of bytes, four of which are one step. */
  #ofBytes(n: AccumulateNode, ranges: readonly RangeNode[], home: Block, level: number): Text | undefined {
    const quad = quadOf(n);
    const { language } = this.#context;
    const [value] = n.src as [Node];
    if (!quad || !this.#quads || !this.#reach.varies(value) || this.#stored.size === 0) return undefined;
    const serial = ranges.filter((r) => r !== quad);
    const last = serial.at(-1);
    const isWritten = last !== undefined && last.attr.extent <= SHORT;
    if (!serial.every(isSerial)) return undefined;
    const steps = this.#instancesOf(value, isWritten ? points([last]) : [nowhere]);
    if (!this.#quads.takes(steps, quad)) return undefined;
    this.#quads.find(steps, quad);
    const inside = this.#loops(home, level - 1, isWritten ? serial.slice(0, -1) : serial);
    const first = this.#lanes.repeat(one(language.literal(0, "i32")), "i32");
    const name = `a${this.#count++}`;
    const running = { ...first, parts: [name] };
    addLine(home, level - 1, language.variable(this.#lanes.type("i32"), name, only(first)));
    for (const step of steps) {
      const next = this.#quads.step(n, running, step, quad, inside);
      addLine(inside, this.#reach.levelOf(step), `${name} = ${only(next)};`);
    }
    return running;
  }

  #loops(home: Block, level: number, ranges: readonly RangeNode[]): Block {
    let block = home;
    for (const r of ranges) {
      const siblings = (block.loops[level] ??= []);
      let next = siblings.find((b) => b.range === r);
      if (!next) siblings.push((next = newBlock(r, block)));
      block = next;
    }
    return block;
  }

  #step({ attr }: AccumulateNode, running: Text, value: Node, inside: Block): Text {
    const dtype = dtypeOf(value);
    if (this.#context.fused && attr.product && value.op === "mul" && (dtype === "f32" || dtype === "f64")) {
      const factors = value.src.map((s) => this.#value(s, inside));
      if (running.element !== undefined) return this.#lanes.apply("fma", dtype, [...factors, running]);
      return one(`${this.#context.helper("fma", dtype, dtype)}(${[...factors, running].map(only).join(", ")})`);
    }
    return this.#totals.combined(attr.kind, running, this.#value(value, inside), dtype);
  }
}

/** Parallel loops are one, of which a share is run; each finds its index in that of the one. */
function sharedLoop({ loop }: CLike, { begin, end }: Share, shared: readonly RangeNode[], range: RangeNode): string {
  if (shared.length < 2) return loop(indexName(range), end, begin);
  const at = shared.indexOf(range);
  const inside = shared.slice(at + 1).reduce((n, r) => n * r.attr.extent, 1);
  const quotient = inside === 1 ? "tile" : `tile / ${inside}`;
  const index = at === 0 ? quotient : `${quotient} % ${range.attr.extent}`;
  const own = loop(indexName(range), `${index} + 1`, index);
  return at === 0 ? `${loop("tile", end, begin)} ${own}` : own;
}

/** Names and statements of an instance, of values that are made where they stand. */
interface Own {
  readonly names: Map<Node, Text>;
  readonly lines: string[];
}

const none: ReadonlySet<Node> = new Set();
const nowhere: Point = new Map();

const isNamed = (n: Node, { element, parts }: Text): boolean =>
  n.op !== "const" &&
  n.op !== "param" &&
  (n.op !== "range" || element !== undefined) &&
  !(
    element === undefined &&
    (n.op === "add" || n.op === "mul") &&
    dtypeOf(n) === "i32" &&
    (parts[0] ?? "").length <= shortText
  );
