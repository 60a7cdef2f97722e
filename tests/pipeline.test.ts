/** The whole pipeline (passes, fusion, kernels, memory plan, executor) on every device against the interpreter's node by
 *  node meaning, over random functions. Two families: where each op is rounded exactly alike, bits must agree, discrete ops
 *  included; where sums and transcendental functions may differ in the last places, values must be close. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { compile, passes } from "../core/src/compiler/compile.ts";
import { runPasses } from "../core/src/compiler/pass.ts";
import { evaluate } from "../core/src/interpreter/evaluate.ts";
import { decode, encode, type Value } from "../core/src/interpreter/value.ts";
import { type Fn, makeFn, nodesOf } from "../core/src/ir/fn.ts";
import { dimsOf, dtypeOf, type Node, type Op } from "../core/src/ir/node.ts";
import { print } from "../core/src/ir/print.ts";
import { isTuple, type TensorType } from "../core/src/ir/type.ts";
import { verify } from "../core/src/ir/verify.ts";
import { openStream } from "../core/src/runtime/devices.ts";
import { Program } from "../core/src/runtime/program.ts";
import type { Stream } from "../core/src/runtime/stream.ts";
import { arbitrarySample, assertSameValues } from "./arbitrary/graphs.ts";

const exactOps: readonly Op[] = [
  "neg",
  "abs",
  "sign",
  "sqrt",
  "floor",
  "round",
  "not",
  "add",
  "sub",
  "mul",
  "div",
  "idiv",
  "mod",
  "max",
  "min",
  "lt",
  "eq",
  "and",
  "or",
  "xor",
  "shl",
  "shr",
  "where",
  "cast",
  "bitcast",
  "reshape",
  "permute",
  "expand",
  "pad",
  "slice",
  "flip",
  "concat",
  "gather",
  "iota",
  "random",
  "const",
  "stopGradient",
  "alias",
  "assign",
  "call",
  "item",
];
const smoothOps: readonly Op[] = [
  "neg",
  "abs",
  "exp",
  "log",
  "sin",
  "cos",
  "tanh",
  "erf",
  "sqrt",
  "add",
  "sub",
  "mul",
  "max",
  "min",
  "where",
  "reshape",
  "permute",
  "expand",
  "pad",
  "slice",
  "flip",
  "concat",
  "reduce",
  "dot",
  "gather",
  "scatter",
  "iota",
  "const",
  "call",
  "item",
  "cast",
];

async function run(stream: Stream, fn: Fn, args: readonly Value[]): Promise<Value[]> {
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

/** Every device, and the processor with loops shared however short they are. */
const targets = [
  { name: "interpreter", device: "interpreter", opened: {} },
  { name: "cpu", device: "cpu", opened: {} },
  { name: "cpu, 2 threads", device: "cpu", opened: { options: { threads: 2, grain: 1 } } },
  { name: "sim", device: "sim", opened: {} },
];

for (const { name, device, opened } of targets) {
  test(`${name}: exactly rounded graphs give the interpreter's bits`, async () => {
    const stream = await openStream(device, opened);
    const options = {
      dtypes: ["f32", "f64", "i32", "u32", "bool", "f16", "bf16", "i64", "u8"],
      ops: exactOps,
      maxNodes: 14,
    } as const;
    await fc.assert(
      fc.asyncProperty(arbitrarySample(options), async ({ fn, args }) => {
        fc.pre(!readsBitsOfNan(fn, args));
        assertSameValues(await run(stream, fn, args), evaluate(fn, args), () => print(fn));
      }),
      { numRuns: 150 },
    );
  });

  test(`${name}: smooth graphs give the interpreter's values`, async () => {
    const stream = await openStream(device, opened);
    await fc.assert(
      fc.asyncProperty(
        arbitrarySample({ dtypes: ["f32", "f64"], ops: smoothOps, maxNodes: 10 }),
        async ({ fn, args }) => {
          const scale = magnitude(fn, args);
          fc.pre(scale < 1e5);
          const actual = await run(stream, fn, args);
          evaluate(fn, args, { exact: true }).forEach(({ data }, j) => {
            data.forEach((e: number | bigint, i: number) => {
              const a = Number(actual[j]?.data[i]);
              assert.ok(Math.abs(a - Number(e)) <= 2e-5 * scale * scale, `${a} is not ${e}\n${print(fn)}`);
            });
          });
        },
      ),
      { numRuns: 150 },
    );
  });
}

/** Whether a bitcast is given a NaN, whose sign and payload no standard fixes. */
function readsBitsOfNan(fn: Fn, args: readonly Value[]): boolean {
  const read = nodesOf(fn).flatMap((n) => (n.op === "bitcast" ? n.src : []));
  return evaluate(makeFn("read", fn.params, read), args).some(({ data }) =>
    [...data].some((x) => Number.isNaN(Number(x))),
  );
}

/** The largest value anywhere in the computation, at least 1; infinite where one is not finite or near a pole. */
function magnitude(fn: Fn, args: readonly Value[]): number {
  const nodes = nodesOf(fn).filter((n) => !isTuple(n.type));
  const values = evaluate(makeFn("all", fn.params, nodes), args, { exact: true });
  let most = 1;
  nodes.forEach((n, i) => {
    const steep = n.op === "log" || n.op === "sqrt" || n.op === "rsqrt" || n.op === "div";
    for (const x of values[i]?.data ?? []) {
      const size = Number.isFinite(Number(x)) ? Math.abs(Number(x)) : Number.POSITIVE_INFINITY;
      most = Math.max(most, size, steep ? 1e3 * size : 0);
    }
  });
  return most;
}

test("every pass leaves legal IR", () => {
  fc.assert(
    fc.property(arbitrarySample({ maxNodes: 14 }), ({ fn }) => {
      runPasses(fn, passes, (_, made) => verify(made, "tensor"));
    }),
    { numRuns: 200 },
  );
});
