/** What the tests of whole pipelines share: how a function is run on a device, and which samples can be compared. */
import { compile } from "../core/src/compiler/compile.ts";
import { evaluate } from "../core/src/interpreter/evaluate.ts";
import { decode, encode, type Value } from "../core/src/interpreter/value.ts";
import { type Fn, makeFn, nodesOf } from "../core/src/ir/fn.ts";
import { dimsOf, dtypeOf, type Node, type Op } from "../core/src/ir/node.ts";
import { isTuple, type TensorType } from "../core/src/ir/type.ts";
import { Program } from "../core/src/runtime/program.ts";
import type { Stream } from "../core/src/runtime/stream.ts";

export async function run(stream: Stream, fn: Fn, args: readonly Value[]): Promise<Value[]> {
  const program = new Program(fn, stream, compile);
  const inputs = args.map((v, i) => {
    const type = fn.params[i]?.type as TensorType;
    return type.space === "host" ? Number(v.data[0]) : stream.upload(type, encode(v));
  });
  const outputs = program.run(inputs);
  return Promise.all(
    outputs.map(async (b, j) =>
      decode(dtypeOf(fn.results[j] as Node), await stream.read(b), dimsOf(fn.results[j] as Node) as number[]),
    ),
  );
}

/** Whether a bitcast is given a NaN, whose sign and payload no standard fixes. */
export function readsBitsOfNan(fn: Fn, args: readonly Value[]): boolean {
  const read = nodesOf(fn).flatMap((n) => (n.op === "bitcast" ? n.src : []));
  return evaluate(makeFn("read", fn.params, read), args).some(({ data }) =>
    [...data].some((x) => Number.isNaN(Number(x))),
  );
}

/** Ops that make much of a small error of their source, near a pole or the end of their domain. */
const steepOps: ReadonlySet<Op> = new Set(["log", "log2", "log10", "log1p", "sqrt", "rsqrt", "div", "tan", "atanh"]);
/** The largest value anywhere in the computation, at least 1; infinite where one is not finite or near a pole. */
export function magnitude(fn: Fn, args: readonly Value[]): number {
  const nodes = nodesOf(fn).filter((n) => !isTuple(n.type));
  const values = evaluate(makeFn("all", fn.params, nodes), args, { exact: true });
  let most = 1;
  nodes.forEach((n, i) => {
    // That of atanh is where single precision ends: a source that is rounded to 1 gives infinity.
    const steep = n.op === "atanh" ? 1e5 : steepOps.has(n.op) ? 1e3 : 0;
    for (const x of values[i]?.data ?? []) {
      const size = Number.isFinite(Number(x)) ? Math.abs(Number(x)) : Number.POSITIVE_INFINITY;
      most = Math.max(most, size, steep * size);
    }
  });
  return most;
}
