/** Which nests may run at one time, as neither touches what the other writes: what is left over of rows and columns beside the whole
 *  tiles, and operands that are packed. */
import type { Node } from "../ir/node.ts";
import { affine, bounds } from "../ops/indexing.ts";
import { conjuncts } from "./digits.ts";
import { loadsIn, type NestNode, type StoreNode, storesOf } from "./nests.ts";

/** Whether two nests may run in any order, or at one time. Buffers of a kernel that are no scratch may lie over each other in memory where
 *  each iteration reads its own place, so nests that write such ones are to write the same of them. */
export function areApart(a: NestNode, b: NestNode): boolean {
  const [ofA, ofB] = [writtenBy(a), writtenBy(b)];
  const all = new Set([...ofA, ...ofB]);
  if (all.size > Math.max(ofA.size, ofB.size) && [...all].some((buffer) => buffer.op !== "scratch")) return false;
  const readsOwn = (nest: NestNode): boolean =>
    loadsIn(nest.src).every(
      ({ src: [buffer, index] }) =>
        !all.has(buffer as Node) || storesOf(nest).some((s) => s.src[0] === buffer && s.src[1] === index),
    );
  if (!readsOwn(a) || !readsOwn(b)) return false;
  return storesOf(a).every((s) => storesOf(b).every((t) => s.src[0] !== t.src[0] || neverMeet(s, t)));
}

const writtenBy = (nest: NestNode): Set<Node> => new Set(storesOf(nest).map((s) => s.src[0] as Node));

/** The values of an index: `first`, and from there on multiples of strides, each up to a number of times. */
interface Places {
  readonly first: number;
  readonly steps: readonly { readonly stride: number; readonly times: number }[];
}

/** Whether two stores never go to one place: at some stride both indices are numbers of two digits, and one of the digits differs. */
function neverMeet(a: StoreNode, b: StoreNode): boolean {
  const [p, q] = [placesOf(a), placesOf(b)];
  const strides = new Set([...p.steps, ...q.steps].map((s) => s.stride));
  return [Number.POSITIVE_INFINITY, ...strides].some((stride) => {
    const [x, y] = [digitsAt(p, stride), digitsAt(q, stride)];
    return x !== undefined && y !== undefined && (differ(x.high, y.high) || differ(x.low, y.low));
  });
}

type Interval = readonly [number, number];
const differ = (a: Interval, b: Interval): boolean => a[1] < b[0] || b[1] < a[0];

/** From a stride on, and below it; undefined where what is below reaches it. */
function digitsAt(
  { first, steps }: Places,
  stride: number,
): { readonly high: Interval; readonly low: Interval } | undefined {
  const isWhole = Number.isFinite(stride);
  const quotient = isWhole ? Math.floor(first / stride) : 0;
  let high = quotient;
  let low = isWhole ? first - quotient * stride : first;
  const least = low;
  for (const s of steps) {
    if (s.stride < stride) low += s.stride * s.times;
    else if (s.stride % stride === 0) high += (s.stride / stride) * s.times;
    else return undefined;
  }
  return low < stride ? { high: [quotient, high], low: [least, low] } : undefined;
}

/** Where a store goes, in iterations in which its mask holds. */
function placesOf({ src: [, index, , mask] }: StoreNode): Places {
  const { terms, constant } = affine(index as Node);
  const left = new Map(terms);
  const steps: { stride: number; times: number }[] = [];
  let first = constant;
  const take = (stride: number, [least, most]: Interval): void => {
    first += stride * (stride < 0 ? most : least);
    if (most > least) steps.push({ stride: Math.abs(stride), times: most - least });
  };
  // Below a limit, what the limit is of is one part of the index.
  for (const { src } of conjuncts(mask)) {
    const [part, limit] = src as [Node, Node];
    if (limit.op !== "const") continue;
    const of = affine(part);
    const [atom] = of.terms;
    const stride = atom ? (left.get(atom[0]) ?? 0) / atom[1] : 0;
    if (stride === 0 || [...of.terms].some(([n, k]) => left.get(n) !== k * stride)) continue;
    for (const n of of.terms.keys()) left.delete(n);
    const [least, most] = bounds(part);
    take(stride, [least - of.constant, Math.max(least, Math.min(most, limit.attr.value - 1)) - of.constant]);
  }
  for (const [atom, stride] of left) take(stride, bounds(atom));
  return { first, steps };
}
