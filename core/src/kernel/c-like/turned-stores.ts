/** Stores of lanes that lie in rows of memory far apart, where instances side by side lie beside each other in those rows: turned in
 *  registers, what was a store for each lane of each instance is one for each row. */
import type { DType } from "../../ir/dtype.ts";
import { addLine, type Block, indexName } from "./text.ts";
import { FEWEST_COLUMNS, runsBeside, turned } from "./turned.ts";
import type { Nest } from "./writing.ts";
import { dtypeOf, type Node } from "../../ir/node.ts";
import { affine } from "../../ops/indexing.ts";
import { type Lanes, only, type Text } from "./lanes.ts";
import { accumulatesIn, type RangeNode, reaches, type StoreNode } from "../nests.ts";

/** What a nest lends to what writes its stores. */
export interface StoreTools extends Nest {
  readonly value: (n: Node, at: Block) => Text;
}

/** Instances of one store each that are stored together, the first columns of all lanes' rows, in runs; undefined unless all of them
 *  can be. */
function storedTogether(
  instances: readonly (readonly StoreNode[])[],
  lane: RangeNode | undefined,
  lanes: Lanes,
): StoreNode[][] | undefined {
  const rows = new Map<string, [number, StoreNode][]>();
  for (const instance of instances) {
    const [store] = instance as [StoreNode];
    const [buffer, index] = store.src as [Node, Node];
    const { terms, constant } = affine(index);
    if (!lane || Math.abs(terms.get(lane) ?? 0) < lanes.width || instance.length > 1 || store.src.length > 3)
      return undefined;
    if (!lanes.isWhole(dtypeOf(buffer)) || dtypeOf(buffer) === "bool") return undefined;
    if ([...terms.keys()].some((atom) => atom !== lane && reaches(atom, lane))) return undefined;
    const key = [buffer.id, ...[...terms].map(([atom, k]) => `${atom.id}·${k}`).sort()].join(" ");
    const row = rows.get(key);
    if (row) row.push([constant, store]);
    else rows.set(key, [[constant, store]]);
  }
  const blocks = [...rows.values()].flatMap((row) => runsBeside(row)).flatMap((run) => blocksOf(run, lanes.width));
  return blocks.every((block) => block.length >= FEWEST_COLUMNS) ? blocks : undefined;
}

const blocksOf = <T>(run: readonly T[], length: number): T[][] =>
  Array.from({ length: Math.ceil(run.length / length) }, (_, i) => run.slice(i * length, (i + 1) * length));

/** Stores instances so, if all of them can be. Sums are made in the order of the instances, what is made of them in that of the stores.
 *  @returns  whether it did */
export function storeTurned(
  instances: readonly (readonly StoreNode[])[],
  lane: RangeNode | undefined,
  at: Block,
  nest: StoreTools,
): boolean {
  const runs = storedTogether(instances, lane, nest.lanes);
  if (!runs || !lane) return false;
  for (const sum of accumulatesIn(instances.flat())) nest.value(sum, at);
  for (const run of runs) new Run(run, lane, at, nest).store();
  return true;
}

/** One store for each lane: of as many elements as there are columns. Values are turned as soon as something beside them lies in rows as they
 *  are stored: that is loaded row by row, and what it is added to is as long as a row from there on. */
class Run {
  readonly #columns: readonly StoreNode[];
  readonly #lane: RangeNode;
  readonly #at: Block;
  readonly #nest: StoreTools;
  readonly #level: number;
  /** Whether values of all columns go on as rows; by their names, as values that differ may be one in the first column. */
  readonly #along = new Map<string, boolean>();
  /** The rows that values of all columns were turned into. */
  readonly #turned = new Map<string, readonly string[]>();
  readonly #seen = new Set<string>();

  constructor(columns: readonly StoreNode[], lane: RangeNode, at: Block, nest: StoreTools) {
    this.#columns = columns;
    this.#lane = lane;
    this.#at = at;
    this.#nest = nest;
    this.#level = columns.reduce((most, store) => Math.max(most, nest.reach.levelOf(store)), 0);
  }

  store(): void {
    const { lanes, reach, place } = this.#nest;
    const [buffer, index] = (this.#columns[0] as StoreNode).src as [Node, Node];
    const dtype = dtypeOf(buffer);
    const values = this.#columns.map(({ src }) => src[2] as Node);
    this.#ask(buffer, index, "written");
    this.#turn(values);
    reach.lanesOf(index).forEach((row, i) => {
      const pointer = place(buffer, row, this.#at).join(" + ");
      const vector = only(lanes.repeat(this.#row(values, i, new Map()), dtype));
      addLine(this.#at, this.#level, lanes.storeFirst(pointer, vector, dtype, this.#columns.length));
    });
  }

  /** Whether values, one of each column, are loaded along rows, or made of some that are. */
  #goesAlong(values: readonly Node[]): boolean {
    const [first] = values as [Node];
    const name = nameOf(values);
    const known = this.#along.get(name);
    if (known !== undefined) return known;
    const { lanes, stored } = this.#nest;
    const isAlike = values.every(({ op, src }) => op === first.op && src.length === first.src.length);
    let along = false;
    if (first.op === "load") along = isAlike && !stored.has(first.src[0] as Node) && isRows(values, this.#lane, lanes);
    else if (isAlike && isElementwise(first)) {
      const operands = first.src.map((_, k) => operandsOf(values, k));
      const isKept = (own: readonly Node[]): boolean =>
        this.#goesAlong(own) || isNumber(own) || lanes.isWhole(dtypeOf(own[0] as Node));
      const isPlain = operands.every((own) => dtypeOf(own[0] as Node) !== "bool" || this.#goesAlong(own));
      along = isPlain && operands.some((own) => this.#goesAlong(own)) && operands.every(isKept);
    }
    this.#along.set(name, along);
    return along;
  }

  /** Turns what does not go along rows yet, below some values. */
  #turn(values: readonly Node[]): void {
    const [first] = values as [Node];
    const name = nameOf(values);
    if (isNumber(values) || this.#seen.has(name)) return;
    this.#seen.add(name);
    if (this.#goesAlong(values)) {
      if (first.op === "load") this.#ask(first.src[0] as Node, first.src[1] as Node, "read");
      else first.src.forEach((_, k) => this.#turn(operandsOf(values, k)));
      return;
    }
    const { lanes, value } = this.#nest;
    const dtype = dtypeOf(first);
    const named = (text: string): string => this.#named(lanes.elementOf(dtype), text);
    const vectors = values.map((n) => named(only(lanes.repeat(value(n, this.#at), dtype))));
    const whole = Array.from({ length: lanes.width }, (_, i) => vectors[i] ?? (vectors[0] as string));
    this.#turned.set(
      name,
      turned(whole, (a, b, distance, upper) => named(lanes.exchange(dtype, a, b, distance, upper))),
    );
  }

  /** The values of one lane, side by side. */
  #row(values: readonly Node[], i: number, made: Map<string, Text>): Text {
    const [first] = values as [Node];
    const { lanes, writing, value, place, reach } = this.#nest;
    const name = nameOf(values);
    const rows = this.#turned.get(name);
    if (rows) return { element: lanes.elementOf(dtypeOf(first)), parts: [rows[i] as string] };
    if (isNumber(values)) return value(first, this.#at);
    const known = made.get(name);
    if (known) return known;
    let text: Text;
    if (first.op === "load") {
      const [buffer, index] = first.src as [Node, Node];
      const pointer = place(buffer, reach.lanesOf(index)[i] as Node, this.#at).join(" + ");
      const loaded = lanes.loadFirst(pointer, dtypeOf(first), values.length);
      text = { element: lanes.elementOf(dtypeOf(first)), parts: [loaded] };
    } else {
      const args = first.src.map((_, k) => this.#row(operandsOf(values, k), i, made));
      const [condition, yes, no] = args as [Text, Text, Text];
      text =
        first.op === "where"
          ? lanes.select(condition, yes, no, dtypeOf(first), writing.language.select)
          : lanes.op(first, args);
    }
    const { element } = text;
    if (element) text = { element, parts: text.parts.map((part) => this.#named(element, part)) };
    made.set(name, text);
    return text;
  }

  #named(element: DType, text: string): string {
    const { newName, writing, lanes } = this.#nest;
    const name = newName("v");
    addLine(this.#at, this.#level, writing.language.constant(lanes.type(element), name, text));
    return name;
  }

  /** Asks for a row's beginning, or its end, in each step along the channels of a window: rows are far apart, and there are many. With as few
   *  channels as colours, whose steps are soon done, it would take longer than what it saves. */
  #ask(buffer: Node, index: Node, to: "read" | "written"): void {
    const { lanes, place, reach, writing } = this.#nest;
    const { prefetch, select } = writing.language;
    const [inside] = this.#at.loops.flat();
    const range = inside?.range;
    const stride = affine(index).terms.get(this.#lane);
    if (!prefetch || !range || stride === undefined) return;
    if (range.attr.extent < lanes.width || inside.loops.flat().length === 0) return;
    const pointer = place(buffer, reach.lanesOf(index)[0] as Node, this.#at).join(" + ");
    const step = indexName(range);
    const end = select(`(${step} & ${lanes.width}) != 0`, String(this.#columns.length - 1), "0");
    addLine(inside, 0, prefetch(`${pointer} + (${step} & ${lanes.width - 1}) * ${stride} + ${end}`, to));
  }
}

const operandsOf = (values: readonly Node[], k: number): Node[] => values.map(({ src }) => src[k] as Node);

const nameOf = (values: readonly Node[]): string => values.map(({ id }) => id).join(" ");

/** Whether values are one number. */
const isNumber = ([first, ...others]: readonly Node[]): boolean =>
  first?.op === "const" && others.every((n) => n === first);

const isElementwise = ({ op, src }: Node): boolean =>
  src.length > 0 && op !== "load" && op !== "accumulate" && op !== "range" && op !== "param" && op !== "const";

/** Whether lanes of loads lie in rows far apart, and the loads side by side in each of them. */
function isRows(loads: readonly Node[], lane: RangeNode, lanes: Lanes): boolean {
  const [buffer, index, mask] = (loads[0] as Node).src as [Node, Node, Node | undefined];
  const dtype = dtypeOf(loads[0] as Node);
  const first = affine(index);
  if (mask || !lanes.isWhole(dtype) || dtype === "bool" || Math.abs(first.terms.get(lane) ?? 0) < lanes.width)
    return false;
  if ([...first.terms.keys()].some((atom) => atom !== lane && reaches(atom, lane))) return false;
  return loads.every(({ src }, j) => {
    const { terms, constant } = affine(src[1] as Node);
    const isSame = terms.size === first.terms.size && [...terms].every(([atom, k]) => first.terms.get(atom) === k);
    return src.length === 2 && src[0] === buffer && isSame && constant === first.constant + j;
  });
}
