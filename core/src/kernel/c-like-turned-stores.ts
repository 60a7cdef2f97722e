/** Stores of lanes that lie in rows of memory far apart, where instances side by side lie beside each other in those rows: turned in
 *  registers, what was a store for each lane of each instance is one for each row. */
import { addLine, type Block } from "./c-like-text.ts";
import { FEWEST_COLUMNS, runsBeside, turned } from "./c-like-turned.ts";
import type { Nest } from "./c-like-writing.ts";
import { dtypeOf, type Node } from "../ir/node.ts";
import { affine } from "../ops/indexing.ts";
import { type Lanes, only, type Text } from "./c-like-lanes.ts";
import { accumulatesIn, type RangeNode, reaches, type StoreNode } from "./nests.ts";

/** What a nest lends to what writes its stores. */
export interface StoreTools extends Nest {
  readonly value: (n: Node, at: Block) => Text;
  /** The node in each lane. */
  readonly inLanes: (n: Node) => readonly Node[];
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
  if (!runs) return false;
  for (const sum of accumulatesIn(instances.flat())) nest.value(sum, at);
  for (const run of runs) storeRun(run, at, nest);
  return true;
}

/** One store for each lane: of as many elements as there are columns. */
function storeRun(
  columns: readonly StoreNode[],
  at: Block,
  { lanes, reach, writing, newName, place, value, inLanes }: StoreTools,
): void {
  const [buffer, index] = (columns[0] as StoreNode).src as [Node, Node];
  const dtype = dtypeOf(buffer);
  const level = columns.reduce((most, store) => Math.max(most, reach.levelOf(store)), 0);
  const type = lanes.type(lanes.elementOf(dtype));
  const named = (text: string): string => {
    const name = newName("v");
    addLine(at, level, writing.language.constant(type, name, text));
    return name;
  };
  const values = columns.map(({ src }) => named(only(lanes.repeat(value(src[2] as Node, at), dtype))));
  const whole = Array.from({ length: lanes.width }, (_, i) => values[i] ?? (values[0] as string));
  const rows = turned(whole, (a, b, distance, upper) => named(lanes.exchange(dtype, a, b, distance, upper)));
  inLanes(index).forEach((row, i) => {
    const pointer = place(buffer, row, at).join(" + ");
    addLine(at, level, lanes.storeFirst(pointer, rows[i] as string, dtype, columns.length));
  });
}
