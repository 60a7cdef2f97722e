/** The order that sorts an axis: stable, NaN counted as greatest. Values become integers of the same order first. A long row is
 *  sorted by their digits from the least (radix sort: n steps a digit, whatever the values); in a short one each element is put
 *  behind as many as come before it.
 *
 *    0x40490fdb (3.14), 0xbf800000 (−1)   →   0x40490fdb, 0x807fffff: as signed integers in the order of the floats
 */
import { ShapeError } from "../errors.ts";
import { sizeOfDims, type Value } from "../interpreter/value.ts";
import { type DType, dtypes, isFloat } from "../ir/dtype.ts";
import { dimsOf, dtypeOf, type Node, type NodeOf } from "../ir/node.ts";
import { tensorType, typeText } from "../ir/type.ts";
import type { LowerNests } from "../kernel/lower.ts";
import { makeNest, type NestNode } from "../kernel/nests.ts";
import { add, and, bitcast, build, cast, eq, lt, not, or, scalar, shl, shr, where, xor } from "./build.ts";
import { type RareFamily, requireKinds } from "./define.ts";
import { addIndex, constIndex, flattenIndex, knownDims } from "./indexing.ts";
import { load } from "./table.ts";

/** For each place of the sorted axis the position (i32) of the element that comes there. */
export const argsort = (x: Node, axis: number, descending = false): Node => build("argsort", [x], { axis, descending });

/** Rows of at most so many elements are sorted by counting. */
const SHORT = 64;
const DIGIT = 8;
const DIGITS = 2 ** DIGIT;

/** The dtype of the keys of values of a dtype, and the bits that can differ in them. */
function keyOf(dtype: DType): { readonly type: "i32" | "i64"; readonly low: number; readonly high: number } {
  const { bits, kind } = dtypes[dtype];
  if (bits === 64) return { type: "i64", low: 0, high: 64 };
  // A narrow float is one of 32 bits that ends in zeros.
  if (kind === "float") return { type: "i32", low: dtype === "bf16" ? 16 : dtype === "f16" ? 8 : 0, high: 32 };
  // The sign of a narrow integer is taken with its top digit.
  return { type: "i32", low: 0, high: kind === "bool" ? DIGIT : bits };
}

/** An integer whose signed order is that of the values. */
function key(x: Node, descending: boolean): Node {
  const dtype = dtypeOf(x);
  const { type } = keyOf(dtype);
  const k = (value: number): Node => scalar(value, type);
  const least = type === "i64" ? shl(k(1), k(63)) : k(-(2 ** 31));
  const greatest = not(least);
  let order: Node;
  if (isFloat(dtype)) {
    const wide = type === "i64" ? x : cast(x, "f32");
    // −0 + 0 is 0, which −0 equals.
    const bits = bitcast(add(wide, scalar(0, dtypeOf(wide))), type);
    const turned = xor(bits, and(shr(bits, k(type === "i64" ? 63 : 31)), greatest));
    order = where(eq(wide, wide), turned, greatest);
  } else if (dtype === "u32") order = xor(bitcast(x, "i32"), least);
  else order = cast(x, type);
  return descending ? not(order) : order;
}

/** The digit of a key that begins at bit `low`; the top one with the sign turned, so that negative keys come first. */
function digit(value: Node, low: number, top: boolean): Node {
  const type = dtypeOf(value);
  const shifted = low === 0 ? value : shr(value, scalar(low, type));
  const bits = cast(and(shifted, scalar(DIGITS - 1, type)), "i32");
  return top ? xor(bits, scalar(DIGITS / 2, "i32")) : bits;
}

const lowerNests: LowerNests<"argsort"> = (y, { out, newRange, newScratch, valueAt }) => {
  const { axis, descending } = y.attr;
  const x = y.src[0] as Node;
  const dims = knownDims(y);
  const n = dims[axis] as number;
  const rows = [...dims.slice(0, axis), ...dims.slice(axis + 1)];
  const nests: NestNode[] = [];
  const stored = (buffer: Node, index: Node, value: Node): Node => build("store", [buffer, index, value], {});
  const loaded = (buffer: Node, index: Node): Node => build("load", [buffer, index], {});
  /** A nest over rows and so many steps in each. */
  const over = (steps: number, make: (row: readonly Node[], step: Node) => readonly Node[]): void => {
    const row = rows.map((d) => newRange(d, "loop"));
    const step = newRange(steps, "loop");
    nests.push(
      makeNest(
        make(row, step),
        [...row, step].flatMap((r) => (r.op === "range" ? [r.attr.id] : [])),
      ),
    );
  };
  const place = (row: readonly Node[], i: Node): Node[] => [...row.slice(0, axis), i, ...row.slice(axis)];
  const result = (row: readonly Node[], i: Node): Node => flattenIndex(place(row, i), dims);
  const count = sizeOfDims(rows);
  const { type, low, high } = keyOf(dtypeOf(x));
  const index = (row: readonly Node[], i: Node, size = n): Node => flattenIndex([...row, i], [...rows, size]);

  let keys = newScratch(type, count * n);
  over(n, (row, i) => [stored(keys, index(row, i), key(valueAt(x, place(row, i)), descending))]);
  if (n <= SHORT) {
    const rank = newScratch("i32", count * n);
    over(n, (row, i) => {
      const j = newRange(n, "reduce");
      const [mine, other] = [loaded(keys, index(row, i)), loaded(keys, index(row, j))];
      const before = or(lt(other, mine), and(eq(other, mine), lt(j, i)));
      const one = cast(before, "i32");
      const sum = j.op === "range" ? build("accumulate", [one, j], { kind: "sum" }) : one;
      return [stored(rank, index(row, i), sum)];
    });
    over(n, (row, i) => [stored(out, result(row, loaded(rank, index(row, i))), i)]);
    return nests;
  }

  let order: Node | undefined;
  const next = {
    keys: newScratch(type, count * n),
    order: [newScratch("i32", count * n), newScratch("i32", count * n)],
  };
  const counts = newScratch("i32", count * DIGITS);
  const starts = newScratch("i32", count * DIGITS);
  for (let at = low, pass = 0; at < high; at += DIGIT, pass++) {
    const last = at + DIGIT >= high;
    const [from, given] = [keys, order];
    const digitOf = (row: readonly Node[], i: Node): Node =>
      digit(loaded(from, index(row, i)), at, last && !isUnsigned(x));
    over(DIGITS, (row, d) => [stored(counts, index(row, d, DIGITS), constIndex(0))]);
    over(n, (row, i) => {
      const mine = index(row, digitOf(row, i), DIGITS);
      return [stored(counts, mine, add(loaded(counts, mine), constIndex(1)))];
    });
    over(1, (row, d) => [stored(starts, index(row, d, DIGITS), constIndex(0))]);
    over(DIGITS - 1, (row, d) => {
      const before = index(row, d, DIGITS);
      const sum = add(loaded(starts, before), loaded(counts, before));
      return [stored(starts, index(row, addIndex(d, constIndex(1)), DIGITS), sum)];
    });
    const [toKeys, toOrder] = [next.keys, next.order[pass % 2] as Node];
    over(n, (row, i) => {
      const mine = index(row, digitOf(row, i), DIGITS);
      const to = loaded(starts, mine);
      const element = given ? loaded(given, index(row, i)) : i;
      return [
        ...(last
          ? [stored(out, result(row, to), element)]
          : [stored(toKeys, index(row, to), loaded(from, index(row, i))), stored(toOrder, index(row, to), element)]),
        stored(starts, mine, add(to, constIndex(1))),
      ];
    });
    next.keys = from;
    keys = toKeys;
    order = toOrder;
  }
  return nests;
};

/** Whether keys are never negative: the dtypes that are wider as keys. */
const isUnsigned = (x: Node): boolean => ["u8", "u16", "bool"].includes(dtypeOf(x));

function evaluate({ attr: { axis, descending } }: NodeOf<"argsort">, [x]: readonly Value[]): Value {
  const { dims, data } = x as Value;
  const n = dims[axis] as number;
  const stride = sizeOfDims(dims.slice(axis + 1));
  const out = new Float64Array(data.length);
  const compare = (a: number | bigint, b: number | bigint): number => {
    const [p, q] = [a !== a, b !== b];
    if (p || q) return Number(p) - Number(q);
    return a < b ? -1 : a > b ? 1 : 0;
  };
  for (let row = 0; row < data.length / Math.max(n, 1); row++) {
    const base = Math.floor(row / stride) * stride * n + (row % stride);
    const at = (i: number): number | bigint => data[base + i * stride] as number | bigint;
    const order = Array.from({ length: n }, (_, i) => i).sort((i, j) =>
      descending ? compare(at(j), at(i)) : compare(at(i), at(j)),
    );
    order.forEach((from, i) => (out[base + i * stride] = from));
  }
  return { dtype: "i32", dims, data: out };
}

export const sorting = {
  argsort: {
    role: "indexed",
    fusion: "sink",
    rereads: "values",
    arity: 1,
    flops: 24,
    claimable: true,
    attrs: { axis: "count", descending: "boolean" },
    infer: ([x], { axis }) => {
      const node = x as Node;
      requireKinds("argsort", [node], ["float", "int", "uint", "bool"]);
      if (axis >= dimsOf(node).length)
        throw new ShapeError(`argsort: axis ${axis} is outside of ${typeText(node.type)}`);
      return tensorType("i32", dimsOf(node));
    },
    batch: (y, { x }) => argsort(x(), y.attr.axis + 1, y.attr.descending),
    lowerNests,
    evaluate,
  },
} satisfies RareFamily<"argsort">;

load(sorting);
