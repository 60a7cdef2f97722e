/** One nest as text: loops, named values, accumulators, masks.
 *
 *  Every value gets a name in the outermost loop where it is known. Instances of unrolled ranges are written out, each with
 *  accumulators of its own, so that the language's compiler may keep them in registers. Lanes of the vector range are vectors
 *  where the language has them, and instances where it has none. */
import { Ahead } from "./ahead.ts";
import { valuesOf } from "./codes.ts";
import type { CLike } from "./c-like.ts";
import { Columns } from "./columns.ts";
import { topological } from "../../ir/fn.ts";
import { dtypeOf, type Node, tensorTypeOf } from "../../ir/node.ts";
import { affine, mulIndex, subIndex } from "../../ops/indexing.ts";
import { Lanes, one, only, type Text } from "./lanes.ts";
import { copyText, runsOf } from "./copies.ts";
import { pathTo, Reach } from "./reach.ts";
import { type Share, sharedLoop } from "./shares.ts";
import { Sums } from "./sums.ts";
import { type StoreTools, storeTurned } from "./turned-stores.ts";
import { goesAlongRows } from "./turned.ts";
import {
  addLine,
  type Block,
  fail,
  indexName,
  inTurn,
  isNamed,
  isSerial,
  linesOf,
  loopText,
  newBlock,
  operators,
  outputLoops,
  points,
  shortIn,
  slidingIn,
} from "./text.ts";
import type { Writing } from "./writing.ts";
import { loadsIn, type NestNode, type RangeNode, type StoreNode } from "../nests.ts";

/** Nodes of a nest whose innermost loop may be written out. */
const longest = 100;
const widths: ReadonlySet<number> = new Set([2, 4, 8, 16, 32]);

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
  readonly #columns: Columns | undefined;
  readonly #sums: Sums;
  readonly #tools: StoreTools;
  /** Loops of sums that are to be none at run time. */
  readonly #unrolled: ReadonlySet<Node>;
  /** And those whose iterations have elements in common with others. */
  readonly #sliding: ReadonlySet<Node>;
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
    this.#unrolled = shortIn(stores);
    this.#sliding = new Set([...slidingIn(stores), ...this.#unrolled]);
    const { vectors } = context.language;
    this.#lane =
      vectors &&
      topological(stores).find(
        (r): r is RangeNode => r.op === "range" && r.attr.kind === "vector" && widths.has(r.attr.extent),
      );
    this.#lanes = new Lanes(this.#lane?.attr.extent ?? 1, vectors, context.needs);
    this.#reach = new Reach(this.#lane, this.#lanes.hasCodes);
    this.#ahead = new Ahead(context.language, this.#reach, this.#lanes.width);
    this.#tools = {
      writing: context,
      lanes: this.#lanes,
      reach: this.#reach,
      stored: this.#stored,
      newName: (letter) => `${letter}${this.#count++}`,
      place: (buffer, index, at) => this.#place(buffer, index, at, undefined),
      value: (n, at) => this.#value(n, at),
    };
    this.#columns = this.#lane && new Columns({ ...this.#tools, lane: this.#lane, ahead: this.#ahead });
    this.#sums = new Sums({
      ...this.#tools,
      instancesOf: (n, all) => this.#reach.instancesOf(n, all),
      lane: this.#lane,
      columns: this.#columns,
      ahead: this.#ahead,
      named: (n, text, lines) => this.#named(n, text, lines),
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
    const rows = this.#sums.rowsOf(nest);
    const isLoop = (r: RangeNode): boolean => isSerial(r) || r === rows;
    const serial = outputs.filter(isLoop);
    const written = this.#isWritten(nest, serial.at(-1)) ? serial.splice(-1) : [];
    for (const r of serial) at = at.inner = newBlock(r, at);
    const instances = points([...outputs.filter((r) => r !== this.#lane && !isLoop(r)), ...written]);
    const stores = this.#reach.instances(nest.src, instances) as StoreNode[][];
    if (!this.#readsOwn) this.#ahead.results(stores, at, this.#tools.place);
    const level = nest.src.reduce((most, store) => Math.max(most, this.#reach.levelOf(store)), 0);
    this.#columns?.find(stores.flat());
    const { copy } = this.#context.language;
    const others = !this.#readsOwn && storeTurned(stores, this.#lane, at, this.#tools) ? [] : stores;
    const runs = copy && !this.#lane ? runsOf(others) : others.map((instance) => ({ instance, copies: 1 }));
    const pointer = (buffer: Node, index: Node): string => this.#place(buffer, index, at, undefined).join(" + ");
    const made = this.#readsOwn ? [] : runs.filter(({ copies }) => copies === 1);
    const chains = made.map(({ instance }) =>
      this.#open(
        instance.flatMap(({ src }) => src.slice(2)),
        at,
      ),
    );
    for (const n of inTurn(chains)) this.#value(n, at);
    for (const { instance, copies } of runs)
      if (copy && copies > 1) addLine(at, level, copyText(instance[0] as StoreNode, copies, pointer, copy));
      else this.#stores(instance, at, level);
    const shared = outputs.filter((r) => r.attr.kind === "parallel");
    return ["{", ...this.#text(shared).map((line) => `  ${line}`), "}"];
  }

  /** Whether the innermost loop is written out, so that what it reads along rows is read in blocks. */
  #isWritten(nest: NestNode, loop: RangeNode | undefined): boolean {
    const lane = this.#lane;
    if (!lane || loop?.attr.kind !== "loop" || this.#reach.levelOf(nest.src[0] as Node) > 0) return false;
    if (this.#readsOwn) return false;
    return topological(nest.src).length <= longest && nest.src.some((s) => goesAlongRows(s.src[2] as Node, loop, lane));
  }

  #text(shared: readonly RangeNode[]): string[] {
    const { language } = this.#context;
    return linesOf(this.#root, (range, block) => {
      if (this.#share && range.attr.kind === "parallel") return sharedLoop(language, this.#share, shared, range);
      return loopText(language, range, block, this.#unrolled.has(range));
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
    if (this.#reach.stepOf(index) === 1) {
      const pointer = this.#pointerOf(buffer, index, at, own);
      const lines = this.#lanes.store(pointer, stored, dtype, isMasked ? condition : undefined);
      return lines.map((line) => guarded(isMasked ? undefined : condition, line));
    }
    return this.#reach
      .lanesOf(index)
      .map((n, i) =>
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

  /** What stands for elements behind the first lane's. */
  #pointerOf(buffer: Node, index: Node, at: Block, own: Own | undefined, step = 1): (i: number) => string {
    const first = this.#lane ? subIndex(index, mulIndex(this.#lane, step)) : index;
    const [base, offset] = this.#place(buffer, first, at, own);
    return (i) => `${base} + ${i === 0 ? offset : `${offset} + ${i}`}`;
  }

  /** A buffer's name, or that of a pointer into it, and the index behind it.
   *  @param opaque  where elements are repeated over lanes: what iterations of a short loop read again is not to be kept in registers
   *                 until then, of which there are too few */
  #place(buffer: Node, index: Node, at: Block, own?: Own, opaque?: CLike["opaque"]): readonly [string, string] {
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
      if (opaque && this.#lane && block.range && this.#sliding.has(block.range)) addLine(block, level, opaque(name));
    }
    return [name, String(constant)];
  }

  /** The text that stands for a node's value, as seen from the block `at`. */
  #value(root: Node, at: Block, own?: Own): Text {
    const pinned = own ? this.#pinned(root) : none;
    const find = (n: Node): Text | undefined => (pinned.has(n) ? own?.names : this.#reach.home(n, at).names)?.get(n);
    for (const n of this.#open([root], at, find)) {
      if (find(n) !== undefined) continue;
      const isPinned = pinned.has(n) && own !== undefined;
      const text = this.#made(n, at, (s) => find(s) as Text, own);
      const home = this.#reach.home(n, at);
      const lines: string[] = [];
      const isKept =
        n.op === "load" &&
        ["f32", "f64"].includes(dtypeOf(n)) &&
        home.range !== undefined &&
        this.#sliding.has(home.range);
      const named = isNamed(n, text) ? this.#named(n, text, lines, isKept) : text;
      (isPinned ? own.names : home.names).set(n, named);
      for (const line of lines)
        if (isPinned) own.lines.push(line);
        else addLine(home, this.#reach.levelOf(n), line);
    }
    return find(root) ?? fail(`${root.op} has no value`, "buffers are only loaded from");
  }

  /** The nodes below that have no text yet, each behind what it is made of. */
  #open(roots: readonly Node[], at: Block, find = (n: Node) => this.#reach.home(n, at).names.get(n)): Node[] {
    const isOpen = (m: Node): boolean => m.op !== "accumulate" && m.op !== "load" && find(m) === undefined;
    return topological(
      roots,
      (m) => isOpen(m) && this.#reach.codeOf(m) === undefined && !this.#reach.isPieced(m) && !this.#columns?.has(m),
    ).filter((n) => n.op !== "scratch" && (n.op !== "param" || tensorTypeOf(n).dims.length === 0));
  }

  /** Names for a value's parts.
   *  @param isKept  where vectors are in registers from here on, and not read from memory again where registers are few */
  #named(n: Node, { element, parts }: Text, lines: string[], isKept = false): Text {
    const { constant, kept } = this.#context.language;
    const type = element === undefined ? this.#context.typeOf(dtypeOf(n)) : this.#lanes.type(element);
    const known = new Map<string, string>();
    const names = parts.map((part) => {
      const name = known.get(part) ?? `v${this.#count++}`;
      if (!known.has(part)) lines.push((isKept && element !== undefined && kept ? kept : constant)(type, name, part));
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

  #made(n: Node, at: Block, of: (n: Node) => Text, own: Own | undefined): Text {
    const { language, helper } = this.#context;
    const dtype = dtypeOf(n);
    const code = this.#reach.codeOf(n);
    const column = n.op === "or" && this.#reach.varies(n) ? this.#columns?.of(n, at) : undefined;
    if (column !== undefined) return { element: "i32", parts: [column] };
    if (code && this.#lane) {
      const values = this.#value(valuesOf(n, code, this.#lane), at, own);
      return this.#lanes.choice(values, this.#value(code.src[0] as Node, at, own), dtype);
    }
    if (this.#reach.isPieced(n))
      return this.#lanes.pack(
        dtype,
        this.#reach.lanesOf(n).map((lane) => only(this.#value(lane, at, own))),
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
        return this.#sums.of(n, at);
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
      const loaded = language.load(...this.#place(buffer, index, at, own, language.opaque), dtype);
      return one(mask ? language.select(only(this.#value(mask, at, own)), loaded, language.literal(0, dtype)) : loaded);
    }
    if (this.#reach.stepOf(index) === 1) {
      const condition = mask && this.#value(mask, at, own);
      const pointer = this.#pointerOf(buffer, index, at, own);
      const first = this.#lane ? subIndex(index, this.#lane) : index;
      const place = (of: Node): readonly [string, string] => this.#place(buffer, of, at, own);
      if (!mask && !this.#stored.has(buffer)) this.#ahead.ask(n, { index, first, pointer: pointer(0), place }, at);
      if (!condition || isMasked) return this.#lanes.load(pointer, dtype, condition);
      const lanes = this.#lanes.load(pointer, dtype);
      return this.#lanes.select(condition, lanes, one(language.literal(0, dtype)), dtype, language.select);
    }
    const column = this.#columns?.of(n, at);
    if (column !== undefined) return { element: this.#lanes.elementOf(dtype), parts: [column] };
    if (!mask && this.#reach.stepOf(index) === 2 && dtype !== "bool" && this.#lanes.isWhole(dtype))
      return this.#lanes.loadEveryOther(this.#pointerOf(buffer, index, at, own, 2), dtype);
    return this.#lanes.pack(
      dtype,
      this.#reach.lanesOf(n).map((lane) => only(this.#value(lane, at, own))),
    );
  }
}

/** Names and statements of an instance, of values that are made where they stand. */
interface Own {
  readonly names: Map<Node, Text>;
  readonly lines: string[];
}

const none: ReadonlySet<Node> = new Set();
