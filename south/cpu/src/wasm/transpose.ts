/** Four rows of memory, read a column at a time: where the lanes of a vector lie in four rows and a loop goes along these, four
 *  iterations read 4 × 4 elements. Loading whole vectors and turning the block is less than half the work of loading lanes. */

import type { FunctionBody } from "./body.ts";
import { block } from "./emit.ts";
import type { Loop } from "./nest.ts";
import type { OpName } from "./opcodes.ts";
import type { Region, Value } from "./value.ts";

interface Untyped {
  op(name: OpName, ...immediates: readonly (number | readonly number[])[]): void;
}

/** Where one row is: the local of its pointer, and the immediates of a load. */
interface Row {
  readonly pointer: Value;
  readonly place: readonly number[];
}

const elementBytes = 4;

/** The rows whose elements are a vector's lanes, if iterations of the loop go along them. */
function rowsOf(v: Value, region: Region): readonly Row[] | undefined {
  const rows: Row[] = [];
  let part = v;
  for (let lane = block - 1; lane >= 0; lane--) {
    const [pointer, rest] = part.args;
    const immediates = part.immediates as readonly number[];
    const isLast = lane === 0;
    const expected = isLast ? "v128.load32_splat" : "v128.load32_lane";
    if (part.op !== expected || part.pinned || pointer?.kind !== "induction") return undefined;
    if (pointer.region !== region || pointer.immediates[0] !== elementBytes) return undefined;
    if (!isLast && immediates[0] !== lane) return undefined;
    rows.unshift({ pointer, place: isLast ? immediates : immediates.slice(1) });
    if (rest) part = rest;
  }
  return rows;
}

/** Whether the stores of a loop read columns of rows that it goes along. */
export function readsColumns({ stores, region }: Loop): boolean {
  const seen = new Set<Value>();
  const stack = stores.flatMap((instance) => instance.map(({ value }) => value));
  for (let v = stack.pop(); v; v = stack.pop()) {
    if (seen.has(v)) continue;
    seen.add(v);
    if (rowsOf(v, region)) return true;
    stack.push(...v.args);
  }
  return false;
}

const lanes32 = (...lanes: readonly number[]): number[] => lanes.flatMap((l) => [0, 1, 2, 3].map((i) => 4 * l + i));
const [lowPairs, highPairs] = [lanes32(0, 4, 1, 5), lanes32(2, 6, 3, 7)];
const [lowHalves, highHalves] = [lanes32(0, 1, 4, 5), lanes32(2, 3, 6, 7)];

/** Loads four vectors of each row and turns them; gives the locals of the columns, undefined where iterations of the loop do not go
 *  along rows that are the vector's lanes. */
export function emitColumns(body: FunctionBody, v: Value, region: Region): number[] | undefined {
  const rows = rowsOf(v, region);
  if (!rows) return undefined;
  const untyped: Untyped = body;
  const loaded = rows.map(({ pointer, place: [offset = 0, , memory] }) => {
    body.get(pointer.local as number);
    untyped.op("v128.load", offset, elementBytes, ...(memory === undefined ? [] : [memory]));
    const local = body.local("v128");
    body.set(local);
    return local;
  });
  const joined = (a: number, b: number, order: readonly number[]): number => {
    body.get(a);
    body.get(b);
    untyped.op("i8x16.shuffle", order);
    const local = body.local("v128");
    body.set(local);
    return local;
  };
  const [r0, r1, r2, r3] = loaded as [number, number, number, number];
  const pairs = [joined(r0, r1, lowPairs), joined(r2, r3, lowPairs)] as const;
  const others = [joined(r0, r1, highPairs), joined(r2, r3, highPairs)] as const;
  body.release(...loaded);
  const columns = [
    joined(...pairs, lowHalves),
    joined(...pairs, highHalves),
    joined(...others, lowHalves),
    joined(...others, highHalves),
  ];
  body.release(...pairs, ...others);
  return columns;
}
