/** One nest as text: loops, named values, accumulators, masks.
 *
 *  Every value gets a name in the outermost loop where it is known. Instances of unrolled and vector ranges are written out,
 *  each with accumulators of its own, so that the language's compiler may keep them in registers and join them into vectors. */
import { VerifyError } from "../errors.ts";
import { identityOf } from "../interpreter/contraction.ts";
import type { DType } from "../ir/dtype.ts";
import { topological } from "../ir/fn.ts";
import { dtypeOf, type Node, type Op, type ReduceKind, tensorTypeOf } from "../ir/node.ts";
import { constIndex } from "../ops/indexing.ts";
import type { CLike } from "./c-like.ts";
import type { AccumulateNode, NestNode, RangeNode, StoreNode } from "./nests.ts";
import { substitute } from "./substitute.ts";

/** A text in the making: the language, and the helpers that it turns out to need. */
export interface Writing {
  readonly language: CLike;
  readonly fused: boolean;
  readonly typeOf: (dtype: DType) => string;
  /** The name of a helper, which is then defined. */
  readonly helper: (op: Op | "fma", dtype: DType, from: DType) => string;
}

export function fail(why: string, hint: string): never {
  throw new VerifyError(`kernel as text: ${why}`, { hint });
}

/** Operators that mean in every such language what the op table says. */
const operators: Partial<Record<Op, string>> = {
  add: "+",
  sub: "-",
  mul: "*",
  div: "/",
  lt: "<",
  eq: "==",
  and: "&",
  or: "|",
  xor: "^",
};

/** A loop, or the code around all loops of a nest. Values that need results of accumulates stand behind those: `values[l]` needs
 *  accumulates of at most l levels, whose loops are `loops[l - 1]`. */
interface Block {
  readonly range: RangeNode | undefined;
  readonly parent: Block | undefined;
  readonly values: string[][];
  readonly loops: Block[][];
  readonly names: Map<Node, string>;
  /** Behind all values: the next output loop, then stores, or the steps of accumulators. */
  inner: Block | undefined;
  readonly last: string[];
}

const newBlock = (range?: RangeNode, parent?: Block): Block => ({
  range,
  parent,
  values: [],
  loops: [],
  names: new Map(),
  inner: undefined,
  last: [],
});

const combiner = { sum: "add", prod: "mul", max: "max", min: "min" } as const satisfies Record<ReduceKind, Op>;

/** Index arithmetic up to this length stands where it is used. */
const shortText = 40;

export class NestText {
  readonly #arguments: ReadonlyMap<Node, string>;
  readonly #context: Writing;
  readonly #root = newBlock();
  readonly #free = new Map<Node, ReadonlySet<Node>>();
  readonly #levels = new Map<Node, number>();
  /** Buffers that the nest writes: what is loaded from them is loaded where it is used. */
  readonly #stored: ReadonlySet<Node>;
  /** Whether its parallel loop runs the iterations of a share. */
  readonly #isShared: boolean;
  #count = 0;

  constructor(stores: readonly StoreNode[], args: ReadonlyMap<Node, string>, context: Writing, isShared: boolean) {
    this.#arguments = args;
    this.#isShared = isShared;
    this.#context = context;
    this.#stored = new Set(stores.map((s) => s.src[0] as Node));
  }

  /** An i32 scalar, and the lines before it. */
  scalar(node: Node): { readonly lines: readonly string[]; readonly value: string } {
    const value = this.#value(node, this.#root);
    return { lines: this.#text(this.#root), value };
  }

  lines(nest: NestNode): string[] {
    const outputs = outputLoops(nest);
    if (outputs.some((r) => r.attr.extent === 0)) return [];
    let at = this.#root;
    for (const r of outputs.filter(isSerial)) at = at.inner = newBlock(r, at);
    const instances = points(outputs.filter((r) => !isSerial(r)));
    const stores = instances.map((point) => this.#at(nest.src, point) as StoreNode[]);
    for (const instance of stores) this.#stores(instance, at);
    return ["{", ...this.#text(this.#root).map((line) => `  ${line}`), "}"];
  }

  /** The nodes where ranges have these values. */
  #at(roots: readonly Node[], point: Point): Node[] {
    return point.size === 0
      ? [...roots]
      : substitute(roots, {
          range: (r) => {
            const value = point.get(r);
            return value === undefined ? undefined : constIndex(value);
          },
        });
  }

  #text(block: Block): string[] {
    const { language } = this.#context;
    const lines: string[] = [];
    for (let level = 0; level < Math.max(block.values.length, block.loops.length); level++) {
      lines.push(...(block.values[level] ?? []));
      for (const loop of block.loops[level] ?? []) lines.push(...this.#text(loop));
    }
    if (block.inner) lines.push(...this.#text(block.inner));
    lines.push(...block.last);
    if (!block.range) return lines;
    const name = indexName(block.range);
    const isShared = this.#isShared && block.range.attr.kind === "parallel";
    const loop = isShared
      ? language.loop(name, language.share.end, language.share.begin)
      : language.loop(name, block.range.attr.extent);
    return [`${loop} {`, ...lines.map((line) => `  ${line}`), "}"];
  }

  /** The ranges on which a node depends; those of an accumulate end there. */
  #freeOf(root: Node): ReadonlySet<Node> {
    for (const n of topological([root], (m) => !this.#free.has(m))) {
      if (this.#free.has(n)) continue;
      const all = new Set(n.op === "range" ? [n] : n.src.flatMap((s) => [...(this.#free.get(s) ?? [])]));
      if (n.op === "accumulate") for (const r of n.src.slice(1)) all.delete(r);
      this.#free.set(n, all);
    }
    return this.#free.get(root) ?? new Set();
  }

  /** How many accumulates lie below each other in a node. */
  #levelOf(root: Node): number {
    for (const n of topological([root], (m) => !this.#levels.has(m))) {
      if (this.#levels.has(n)) continue;
      const below = n.src.reduce((most, s) => Math.max(most, this.#levels.get(s) ?? 0), 0);
      this.#levels.set(n, below + (n.op === "accumulate" ? 1 : 0));
    }
    return this.#levels.get(root) ?? 0;
  }

  /** The outermost block, at or around `at`, where a node is known. */
  #home(node: Node, at: Block): Block {
    const needed = this.#freeOf(node);
    let block = at;
    while (block.parent && !(block.range && needed.has(block.range))) block = block.parent;
    return block;
  }

  #stores(instance: readonly StoreNode[], at: Block): void {
    const { language } = this.#context;
    // A store may lie over what another value of the instance reads: all values are made before the first.
    const own: Own = { names: new Map(), lines: at.last };
    const texts = instance.map(({ src: [buffer, index, value, mask] }) => ({
      buffer: buffer as Node,
      index: this.#value(index as Node, at, own),
      value: this.#value(value as Node, at, own),
      mask: mask && this.#value(mask, at, own),
    }));
    for (const { buffer, index, value, mask } of texts) {
      const store = language.store(this.#bufferName(buffer), index, value, dtypeOf(buffer));
      at.last.push(mask === undefined ? store : `if (${mask}) ${store}`);
    }
  }

  #bufferName(buffer: Node): string {
    return (
      this.#arguments.get(buffer) ?? fail(`${buffer.op} is not one of the kernel's buffers`, "it is a kernel's own")
    );
  }

  /** The text that stands for a node's value, as seen from the block `at`. */
  #value(root: Node, at: Block, own?: Own): string {
    const pinned = own ? this.#pinned(root) : none;
    const find = (n: Node): string | undefined => (pinned.has(n) ? own?.names : this.#home(n, at).names)?.get(n);
    for (const n of topological([root], (m) => m.op !== "accumulate" && find(m) === undefined)) {
      if (n.op === "scratch" || (n.op === "param" && tensorTypeOf(n).dims.length > 0) || find(n) !== undefined)
        continue;
      const text = this.#made(n, at, (s) => find(s) ?? "");
      const isPinned = pinned.has(n) && own !== undefined;
      const home = this.#home(n, at);
      const named = isNamed(n, text);
      const name = named ? `v${this.#count++}` : text;
      (isPinned ? own.names : home.names).set(n, name);
      if (!named) continue;
      const line = this.#context.language.constant(this.#context.typeOf(dtypeOf(n)), name, text);
      if (isPinned) own.lines.push(line);
      else (home.values[this.#levelOf(n)] ??= []).push(line);
    }
    return find(root) ?? fail(`${root.op} has no value`, "buffers are only loaded from");
  }

  /** The nodes below that read memory which the nest writes. */
  #pinned(root: Node): ReadonlySet<Node> {
    const pinned = new Set<Node>();
    for (const n of topological([root]))
      if (n.src.some((s) => pinned.has(s)) || (n.op === "load" && this.#stored.has(n.src[0] as Node))) {
        if (n.op === "accumulate")
          fail("an accumulate reads what its own nest writes", "let a nest before it write that");
        pinned.add(n);
      }
    return pinned;
  }

  #made(n: Node, at: Block, of: (n: Node) => string): string {
    const { language, helper } = this.#context;
    const dtype = dtypeOf(n);
    switch (n.op) {
      case "const":
        return language.literal(n.attr.value, n.attr.dtype);
      case "param":
        return (
          this.#arguments.get(n) ?? fail(`parameter ${n.id} is used as a scalar, but is none`, "load from buffers")
        );
      case "range":
        return language.index(indexName(n));
      case "load": {
        const [buffer, index, mask] = n.src as [Node, Node, Node | undefined];
        const loaded = language.load(this.#bufferName(buffer), of(index), dtype);
        return mask ? language.select(of(mask), loaded, language.literal(0, dtype)) : loaded;
      }
      case "accumulate":
        return this.#accumulate(n, at);
      case "where": {
        const [condition, yes, no] = n.src.map(of) as [string, string, string];
        return language.select(condition, yes, no);
      }
      default: {
        const args = n.src.map(of);
        const operator = operators[n.op];
        if (operator && args.length === 2) return `(${args.join(` ${operator} `)})`;
        return `${helper(n.op, dtype, dtypeOf(n.src.at(-1) ?? n))}(${args.join(", ")})`;
      }
    }
  }

  /** The loops of an accumulate, which others of its level share, then its partial results as one. */
  #accumulate(n: AccumulateNode, at: Block): string {
    const { language, typeOf } = this.#context;
    const dtype = dtypeOf(n);
    const ranges = n.src.slice(1).filter((r): r is RangeNode => r.op === "range");
    const identity = language.literal(identityOf(n.attr.kind, dtype), dtype);
    if (ranges.some((r) => r.attr.extent === 0)) return identity;
    const home = this.#home(n, at);
    const level = this.#levelOf(n);
    const inside = this.#loops(home, level - 1, ranges.filter(isSerial));
    const partials = points(ranges.filter((r) => !isSerial(r))).map((point) => {
      const [value] = this.#at([n.src[0] as Node], point) as [Node];
      if (inside === home) return this.#step(n, identity, value, inside);
      const name = `a${this.#count++}`;
      (home.values[level - 1] ??= []).push(language.variable(typeOf(dtype), name, identity));
      inside.last.push(`${name} = ${this.#step(n, name, value, inside)};`);
      return name;
    });
    return this.#halves(n, partials, dtype);
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

  #step({ attr }: AccumulateNode, running: string, value: Node, inside: Block): string {
    const dtype = dtypeOf(value);
    if (this.#context.fused && attr.product && value.op === "mul" && (dtype === "f32" || dtype === "f64")) {
      const factors = value.src.map((s) => this.#value(s, inside));
      return `${this.#context.helper("fma", dtype, dtype)}(${factors.join(", ")}, ${running})`;
    }
    return this.#combined(attr.kind, running, this.#value(value, inside), dtype);
  }

  #combined(kind: ReduceKind, a: string, b: string, dtype: DType): string {
    const operator = operators[combiner[kind]];
    return operator ? `(${a} ${operator} ${b})` : `${this.#context.helper(combiner[kind], dtype, dtype)}(${a}, ${b})`;
  }

  /** Partial results p = 0 … n−1 become one: while there are several, p takes p + ⌈n/2⌉ to itself. */
  #halves({ attr }: AccumulateNode, partials: readonly string[], dtype: DType): string {
    let left = partials;
    while (left.length > 1) {
      const half = Math.ceil(left.length / 2);
      const all = left;
      left = all
        .slice(0, half)
        .map((x, p) => (p + half < all.length ? this.#combined(attr.kind, x, all[p + half] as string, dtype) : x));
    }
    return left[0] as string;
  }
}

/** Names and statements of an instance, of values that are made where they stand. */
interface Own {
  readonly names: Map<Node, string>;
  readonly lines: string[];
}

const none: ReadonlySet<Node> = new Set();

type Point = ReadonlyMap<Node, number>;

/** All points of the ranges, the first range outermost. */
function points(ranges: readonly RangeNode[]): Point[] {
  let all: Map<Node, number>[] = [new Map()];
  for (const r of ranges)
    all = all.flatMap((p) => Array.from({ length: r.attr.extent }, (_, i) => new Map(p).set(r, i)));
  return all;
}

/** The output ranges of a nest, the outermost first. */
export function outputLoops(nest: NestNode): RangeNode[] {
  const ranges = new Map<number, RangeNode>();
  const bound = new Set<Node>();
  for (const n of topological(nest.src)) {
    if (n.op === "range") ranges.set(n.attr.id, n);
    if (n.op === "accumulate") for (const r of n.src.slice(1)) bound.add(r);
  }
  return nest.attr.order.flatMap((id) => ranges.get(id) ?? []).filter((r) => !bound.has(r));
}

/** Whether a range is a loop at run time. */
const isSerial = ({ attr }: RangeNode): boolean => attr.kind !== "unroll" && attr.kind !== "vector";

export const indexName = ({ attr }: RangeNode): string => `r${attr.id}`;

const isNamed = (n: Node, text: string): boolean =>
  n.op !== "const" &&
  n.op !== "param" &&
  n.op !== "range" &&
  !((n.op === "add" || n.op === "mul") && dtypeOf(n) === "i32" && text.length <= shortText);
