/** Sums of products of bytes as text: four neighbours along k are one lane of 32 bits of each operand, and their products are added to a lane
 *  by one helper.
 *
 *    Σ_k w[n, k] · x[k]    →    a = dot4(a, {w[n, 4j … 4j+3] for each lane n}, {x[4j … 4j+3] in every lane})
 *
 *  Rows of lanes that lie apart in memory are loaded in pieces of four such neighbours, and turned in registers. */
import { byteOf, byteProduct, dotOf, loadOf, TERMS } from "../products/byte-product.ts";
import type { CLike } from "./c-like.ts";
import type { Ahead } from "./ahead.ts";
import { pathTo, type Reach } from "./reach.ts";
import type { Text } from "./lanes.ts";
import type { Needs, VectorOp } from "./vectors.ts";
import { addLine, type Block } from "./text.ts";
import { dtypeOf, type Node } from "../../ir/node.ts";
import { affine, addIndex, constIndex, mulIndex } from "../../ops/indexing.ts";
import { type AccumulateNode, type RangeNode, reaches } from "../nests.ts";

/** What a nest's text does for its quads. */
export interface QuadTools {
  readonly language: CLike;
  readonly needs: Needs;
  readonly lane: RangeNode;
  readonly reach: Reach;
  readonly ahead: Ahead;
  /** The node where ranges have other values. */
  readonly at: (n: Node, place: ReadonlyMap<RangeNode, Node>) => Node;
  /** A pointer, and the offset behind it. */
  readonly place: (buffer: Node, index: Node, at: Block) => readonly [string, string];
  /** A number that is the same for all lanes. */
  readonly scalar: (n: Node, at: Block) => string;
  readonly newName: () => string;
}

/** Bytes of a cache line, the unit in which memory is asked for. */
const LINE = 64;

/** A load of four neighbours in rows that lie apart: one of several that lie side by side in each row. */
interface Member {
  readonly first: Node;
  readonly place: number;
}

export class Quads {
  readonly #tools: QuadTools;
  /** Lanes of 32 bits. */
  readonly #width: number;
  readonly #names = new Map<Block, Map<Node, string>>();
  readonly #turned = new Map<Block, Map<Node, string>>();
  readonly #members = new Map<Node, Member>();
  /** Where rows of a buffer have been asked for. */
  readonly #asked = new Map<Block, Set<Node>>();

  constructor(tools: QuadTools) {
    this.#tools = tools;
    this.#width = tools.lane.attr.extent;
  }

  /** Whether the sum's terms, as they are written out, are such products. */
  takes(steps: readonly Node[], quad: RangeNode): boolean {
    if (!this.#tools.language.vectors || !this.#tools.language.pointer) return false;
    return steps.every((s) =>
      s.src.every((byte) => this.#kindOf(loadOf(byte), quad) !== undefined && this.#shiftsOf(byte, quad)),
    );
  }

  /** Finds loads that lie side by side in each row. */
  find(steps: readonly Node[], quad: RangeNode): void {
    const rows = new Map<string, Map<number, Node>>();
    for (const load of new Set(steps.flatMap((s) => s.src.map(loadOf)))) {
      if (this.#kindOf(load, quad) !== "turned" || this.#members.has(load)) continue;
      const { terms, constant } = affine(load.src[1] as Node);
      const key = [load.src[0]?.id, ...[...terms].map(([atom, k]) => `${atom.id}·${k}`).sort()].join(" ");
      const row = rows.get(key) ?? new Map<number, Node>();
      rows.set(key, row.set(constant, load));
    }
    for (const row of rows.values())
      for (const [constant, first] of [...row].sort(([a], [b]) => a - b)) {
        const block = Array.from({ length: TERMS }, (_, i) => row.get(constant + TERMS * i));
        if (block.some((load) => load === undefined || this.#members.has(load))) continue;
        block.forEach((load, place) => this.#members.set(load as Node, { first, place }));
      }
  }

  /** A running sum after four more terms. */
  step(sum: AccumulateNode, running: Text, value: Node, quad: RangeNode, at: Block): Text {
    const { op, isTurned } = dotOf(byteProduct(sum) ?? ["u8", "u8"], value.src);
    const [a, b] = value.src.map((byte) => this.#quad(byte, quad, at)) as [string, string];
    const args = isTurned ? [b, a] : [a, b];
    return { element: "i32", parts: running.parts.map((part) => this.#help(op, [part, ...args])) };
  }

  #help(op: VectorOp, args: readonly string[]): string {
    return `${this.#tools.needs.vector(op, "i32", "i32", this.#width)}(${args.join(", ")})`;
  }

  get #type(): string {
    return this.#tools.needs.type("u8", TERMS * this.#width);
  }

  /** How four neighbours of each lane lie in memory. */
  #kindOf(load: Node, quad: RangeNode): "same" | "whole" | "turned" | "zipped" | undefined {
    const { lane } = this.#tools;
    const { terms } = affine(load.src[1] as Node);
    if (
      [...terms.keys()].some((atom) => atom !== lane && atom !== quad && (reaches(atom, lane) || reaches(atom, quad)))
    )
      return undefined;
    const [along, across] = [terms.get(quad), terms.get(lane)];
    if (across === undefined) return along === 1 ? "same" : undefined;
    if (along === 1) return across === TERMS ? "whole" : "turned";
    return across === 1 && along !== undefined ? "zipped" : undefined;
  }

  /** Bytes of all lanes, as a name. */
  #quad(byte: Node, quad: RangeNode, at: Block): string {
    const { reach, language, newName } = this.#tools;
    const home = reach.home(byte, at);
    const known = this.#names.get(home) ?? new Map<Node, string>();
    this.#names.set(home, known);
    const own = known.get(byte);
    if (own !== undefined) return own;
    const [inner] = byte.src as [Node];
    const text =
      byte.op === "cast" ? this.#load(inner, quad, at) : this.#operated(byte, this.#quad(inner, quad, at), home);
    const name = newName();
    addLine(home, reach.levelOf(byte), language.constant(this.#type, name, text));
    known.set(byte, name);
    return name;
  }

  #operated(byte: Node, inner: string, at: Block): string {
    const operator = { and: "&", xor: "^", shr: ">>" }[byte.op as "and" | "xor" | "shr"];
    const by = numberOf(byte.src[1] as Node) ?? this.#tools.scalar(byte.src[1] as Node, at);
    return by === 0 && byte.op === "shr" ? inner : `(${inner} ${operator} ${by})`;
  }

  /** Whether all bytes of a vector are shifted by the same. */
  #shiftsOf(byte: Node, quad: RangeNode): boolean {
    if (byte.op === "cast") return true;
    const [of, by] = byte.src as [Node, Node];
    const isSame = numberOf(by) !== undefined || (!reaches(by, quad) && !reaches(by, this.#tools.lane));
    return isSame && this.#shiftsOf(of, quad);
  }

  #load(load: Node, quad: RangeNode, at: Block): string {
    const { lane, place } = this.#tools;
    const [buffer, index] = load.src as [Node, Node];
    const { terms } = affine(index);
    const first = this.#first(index, quad);
    const pointer = (): string => place(buffer, first, at).join(" + ");
    switch (this.#kindOf(load, quad)) {
      case "same":
        return this.#help("spread4", [pointer()]);
      case "whole":
        this.#tools.ahead.blocks(load, first, at, place);
        return this.#help("whole4", [pointer()]);
      case "zipped":
        return this.#help("zip4", [pointer(), String(terms.get(quad))]);
      default: {
        const member = this.#members.get(load);
        const stride = String(terms.get(lane));
        if (!member) return this.#help("rows4", [pointer(), stride]);
        return `${this.#turn(member.first, quad, at, stride)}[${member.place}]`;
      }
    }
  }

  #first(index: Node, quad: RangeNode): Node {
    const zero = constIndex(0);
    return this.#tools.at(
      index,
      new Map([
        [this.#tools.lane, zero],
        [quad, zero],
      ]),
    );
  }

  /** The name of the four columns of what lies in the rows. */
  #turn(load: Node, quad: RangeNode, at: Block, stride: string): string {
    const { reach, place, newName } = this.#tools;
    const home = reach.home(load, at);
    const known = this.#turned.get(home) ?? new Map<Node, string>();
    this.#turned.set(home, known);
    const own = known.get(load);
    if (own !== undefined) return own;
    const name = newName();
    known.set(load, name);
    const [buffer, index] = load.src as [Node, Node];
    const level = reach.levelOf(load);
    const pointer = place(buffer, this.#first(index, quad), home).join(" + ");
    this.#ask(load, quad, home, level);
    addLine(home, level, `${this.#type} ${name}[${TERMS}];`);
    addLine(home, level, `${this.#help("turn4", [name, pointer, stride])};`);
    return name;
  }

  /** Asks memory, in the order in which it lies, for the rows of the lanes that come next: rows that are read side by side are streams that
   *  are too many for a processor to foresee. */
  #ask(load: Node, quad: RangeNode, home: Block, level: number): void {
    const { language, lane, place } = this.#tools;
    const [buffer, index] = load.src as [Node, Node];
    const { terms } = affine(index);
    const { range } = home;
    const [step, row] = [(range && terms.get(range)) ?? 0, terms.get(lane) ?? 0];
    if (!language.prefetch || !range || step <= 0 || row !== step * range.attr.extent) return;
    const asked = this.#asked.get(home) ?? new Set<Node>();
    if (asked.has(buffer)) return;
    this.#asked.set(home, asked.add(buffer));
    const isLoop = pathTo(home).some((b) => b.range !== undefined && b !== home && terms.has(b.range));
    if (!isLoop) return;
    const bytes = step * this.#width;
    const lines = Math.ceil(bytes / LINE);
    const next = addIndex(
      this.#tools.at(this.#first(index, quad), new Map([[range, mulIndex(range, this.#width)]])),
      constIndex(row * this.#width),
    );
    const [base, offset] = place(buffer, next, home);
    for (let i = 0; i < lines; i++)
      addLine(home, level, language.prefetch(`${base} + ${Number(offset) + i * LINE}`, "once"));
  }
}

/** The number that a node of numbers alone is. */
function numberOf(n: Node): number | undefined {
  if (n.op === "const") return n.attr.value;
  const args = n.src.map(numberOf);
  if (args.length === 0 || args.some((x) => x === undefined)) return undefined;
  const [a, b = 0] = args as number[] as [number, number?];
  switch (n.op) {
    case "cast":
      return dtypeOf(n.src[0] as Node) === "bool" ? undefined : a;
    case "shl":
      return a * 2 ** b;
    case "add":
      return a + b;
    case "mul":
      return a * b;
    case "and":
      return byteOf(n) === undefined ? a & b : undefined;
    default:
      return undefined;
  }
}
