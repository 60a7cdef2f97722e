/** Random groups of one result, and random schedules of a kernel, for the tests of everything that runs kernels. */
import fc from "fast-check";
import { fuseRows } from "../compiler/join-rows.ts";
import { ScheduleError } from "../errors.ts";
import type { Fn } from "../ir/fn.ts";
import type { DType } from "../ir/dtype.ts";
import { dimsOf, dtypeOf, type Node, type ReduceKind } from "../ir/node.ts";
import {
  add,
  and,
  concat,
  dot,
  expand,
  flip,
  max,
  mul,
  neg,
  not,
  or,
  pad,
  permute,
  reduce,
  reduceKeep,
  reshape,
  slice,
} from "../ops/build.ts";
import { group } from "./kernel.fixture.ts";
import { nestsOf } from "./nests.ts";
import type { Option } from "./option.ts";
import { apply } from "./schedule.ts";

fuseRows();

/** Choices made by the property's numbers, so that a failure shrinks. */
const chooser = (numbers: readonly number[]) => {
  let at = 0;
  return (below: number): number =>
    numbers.length === 0 ? 0 : (numbers[at++ % numbers.length] as number) % Math.max(below, 1);
};
type Choose = ReturnType<typeof chooser>;

/** What takes the places of a negation, a sum and a product: bools have none. */
const negative = (x: Node): Node => (dtypeOf(x) === "bool" ? not(x) : neg(x));
const sumOf = (x: Node, y: Node): Node => (dtypeOf(x) === "bool" ? or(x, y) : add(x, y));
const productOf = (x: Node, y: Node): Node => (dtypeOf(x) === "bool" ? and(x, y) : mul(x, y));

const size = (n: Node): number[] => dimsOf(n) as number[];

/** One op of a group without an anchor. */
function step(x: Node, choose: Choose): Node {
  const dims = size(x);
  const axis = choose(dims.length);
  const each = (on: number): number[] => dims.map((_, a) => (a === axis ? on : 0));
  switch (choose(8)) {
    case 0:
      return permute(
        x,
        dims.map((_, a) => (a + axis) % dims.length),
      );
    case 1:
      return flip(x, [axis]);
    case 2:
      return pad(x, each(choose(3)), each(choose(3)), dtypeOf(x) === "bool" ? 1 : 2);
    case 3: {
      const start = Math.min(choose(2), (dims[axis] as number) - 1);
      return slice(
        x,
        each(start),
        dims.map((d, a) => (a === axis ? Math.ceil((d - start) / 2) : d)),
        dims.map((_, a) => (a === axis ? 2 : 1)),
      );
    }
    case 4:
      return concat([x, negative(x)], axis);
    case 5:
      return reshape(x, [dims.reduce((p, d) => p * d, 1), 1]);
    case 6:
      return max(x, negative(x));
    default:
      return dims.length < 4 ? expand(reshape(x, [...dims, 1]), [...dims, 2]) : sumOf(x, x);
  }
}

function anchored(x: Node, w: Node, choose: Choose): Node {
  const dims = size(x);
  const axis = choose(dims.length);
  const isBool = dtypeOf(x) === "bool";
  if (choose(2) === 0 || isBool)
    return reduce(
      (["sum", "max", "min"] as ReduceKind[])[isBool ? 1 + choose(2) : choose(3)] as ReduceKind,
      x,
      dims.length > 1 && choose(2) === 0 ? [axis, (axis + 1) % dims.length] : [axis],
    );
  // The axis is cut or padded to the size of w's first one.
  const [k] = size(w) as [number];
  const missing = k - (dims[axis] as number);
  const fit =
    missing >= 0
      ? pad(
          x,
          dims.map(() => 0),
          dims.map((_, a) => (a === axis ? missing : 0)),
        )
      : slice(
          x,
          dims.map(() => 0),
          dims.map((d, a) => (a === axis ? k : d)),
        );
  return dot(fit, w, { contract: [[axis], [0]], batch: [[], []] });
}

/** What a row's own reduction makes of each of its elements, once or twice: a group of rows, where nothing before crosses them. */
function inRows(x: Node, choose: Choose): Node {
  const dims = size(x);
  const along = (kind: ReduceKind, y: Node): Node => expand(reduceKeep(kind, y, [dims.length - 1]), dims);
  const centred = sumOf(x, negative(along("max", x)));
  const last = dtypeOf(x) === "bool" ? "min" : "sum";
  return choose(2) === 0 ? centred : max(productOf(centred, x), along(last, centred));
}

const total = (n: Node): number => size(n).reduce((p, d) => p * d, 1);

/** A random group of one result. Sums of integers are the same in any order, and so are those of floats whose terms and results are small
 *  whole numbers, as those of `sample` are. */
export const arbitraryGroupOf = (dtype: DType): fc.Arbitrary<Fn> =>
  fc
    .record({
      dims: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 3 }),
      w: fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 20 })),
      numbers: fc.array(fc.nat(10_000), { minLength: 6, maxLength: 14 }),
    })
    .map(({ dims, w, numbers }) => {
      const choose = chooser(numbers);
      return group(
        [
          [dtype, dims],
          [dtype, w],
        ],
        (p, q) => {
          let x = p;
          for (let i = choose(3); i > 0 && total(x) < 300; i--) x = step(x, choose);
          if (choose(4) > 0) x = anchored(x, productOf(q, q), choose);
          for (let i = choose(2); i > 0 && total(x) < 600 && size(x).length > 0; i--) x = step(x, choose);
          return choose(3) === 0 && size(x).length > 1 && total(x) > 0 ? inRows(x, choose) : x;
        },
      );
    });

export const arbitraryGroup: fc.Arbitrary<Fn> = arbitraryGroupOf("i32");

/** Options picked at random; those that are refused are left out. */
export function randomSchedule(kernel: Fn, numbers: readonly number[]): Option[] {
  const choose = chooser(numbers);
  const options: Option[] = [];
  let current = kernel;
  for (let i = 0; i < numbers.length; i++) {
    const nest = choose(nestsOf(current).length);
    const order = nestsOf(current)[nest]?.attr.order ?? [];
    if (order.length === 0) continue;
    const at = choose(order.length);
    const range = order[at] as number;
    const candidates: readonly Option[] = [
      { option: "collapse", nest, ranges: order.slice(at, at + 2) },
      { option: "split", nest, range, factor: 2 + choose(4) },
      { option: "peel", nest, range, at: 1 + choose(6) },
      { option: "pad", nest, range, multiple: 4 },
      { option: "reorder", nest, order: [...order.slice(at), ...order.slice(0, at)] },
      { option: "unroll", nest, range },
      { option: "vectorize", nest, range, lanes: [4, 2, 8][choose(3)] as number },
      { option: "parallel", nest, range },
      { option: "accumulateParts", nest, range, parts: 4, lanes: choose(2) === 0 ? 1 : 4 },
      { option: "accumulateBlocks", nest, range, block: 3 },
      { option: "accumulateRows", nest, range, parts: 2 + choose(2) },
      { option: "sumRuns", nest, range, run: 2 + choose(2) },
      { option: "stage", nest, operand: choose(2) as 0 | 1, range, tile: 4 },
      { option: "stage", nest, operand: choose(2) as 0 | 1, range, tile: 4, into: choose(2) },
    ];
    const option = candidates[choose(candidates.length)] as Option;
    try {
      current = apply(current, option);
      options.push(option);
    } catch (error) {
      if (!(error instanceof ScheduleError)) throw error;
    }
  }
  return options;
}
