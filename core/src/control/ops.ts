/** The ops that run functions in loops and by choice, as entries of the op table; and the two by which a loop's plan reads and
 *  writes rows. They join the table with the functions that people call, in `tensor/control.ts`. */
import { VerifyError } from "../errors.ts";
import { tensorTypeOf, type Node } from "../ir/node.ts";
import { tensorType } from "../ir/type.ts";
import { cast } from "../ops/build.ts";
import type { RareFamily } from "../ops/define.ts";
import { batchCond, evaluateCond, inferCond, pullCond, pushCond } from "./cond.ts";
import { linkCond, linkScan, linkWhile } from "./plans.ts";
import { batchScan, evaluateScan, inferScan, pullScan, pushScan } from "./scan.ts";
import { batchWhile, evaluateWhile, inferWhile, pullWhile, pushWhile } from "./while.ts";

const any: readonly [number, number] = [0, Number.POSITIVE_INFINITY];

/** What stands in plans only: nothing transforms it any more. */
const planned = (op: string) => (): never => {
  throw new VerifyError(`${op}: it stands in the plan of a loop only`);
};

export const control = {
  scan: {
    role: "control",
    arity: any,
    attrs: { fn: "fn", consts: "count", carry: "count", length: "count", reverse: "boolean" },
    infer: inferScan,
    pull: pullScan,
    push: pushScan,
    batch: batchScan,
    evaluate: evaluateScan,
    link: linkScan,
  },
  cond: {
    role: "control",
    arity: [1, Number.POSITIVE_INFINITY],
    attrs: { yes: "fn", no: "fn" },
    infer: inferCond,
    pull: pullCond,
    push: pushCond,
    batch: batchCond,
    evaluate: evaluateCond,
    link: linkCond,
  },
  while: {
    role: "control",
    arity: any,
    attrs: { test: "fn", body: "fn", consts: "count" },
    infer: inferWhile,
    pull: pullWhile,
    push: pushWhile,
    batch: batchWhile,
    evaluate: evaluateWhile,
    link: linkWhile,
  },
  pick: {
    role: "indexed",
    arity: 2,
    attrs: {},
    infer: ([x]) => {
      const { dtype, dims } = tensorTypeOf(x as Node);
      return tensorType(dtype, dims.slice(1));
    },
    batch: planned("pick"),
    evaluate: planned("pick"),
    lower: function* ({ src: [x, row] }, at, mask) {
      const index = yield { node: row as Node, at: [], mask: undefined };
      return yield { node: x as Node, at: [cast(index, "i32"), ...at], mask };
    },
  },
  put: {
    role: "placed",
    arity: 2,
    attrs: { length: "count" },
    infer: ([x], { length }) => {
      const { dtype, dims } = tensorTypeOf(x as Node);
      return tensorType(dtype, [length, ...dims]);
    },
    batch: planned("put"),
    evaluate: planned("put"),
    lower: planned("put"),
  },
} satisfies RareFamily<"scan" | "cond" | "while" | "pick" | "put">;
