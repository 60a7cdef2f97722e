/** Kernels of the native tier under the address and undefined-behaviour sanitizers: random graphs of all ops and dtypes, with sizes of 0, 1
 *  and primes, whose buffers end where the tensors do. SINAN_SANITIZE says of how many; a few where it is absent. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { compile } from "../core/src/compiler/compile.ts";
import { evaluate } from "../core/src/interpreter/evaluate.ts";
import { encode } from "../core/src/interpreter/value.ts";
import type { Fn } from "../core/src/ir/fn.ts";
import { dtypes } from "../core/src/ir/dtype.ts";
import { dimsOf, dtypeOf, type Node, type Op } from "../core/src/ir/node.ts";
import { group, sample } from "../core/src/kernel/kernel.fixture.ts";
import { wideTiles } from "../core/src/kernel/products/wide-tile.ts";
import { attention } from "../core/src/ops/attention.ts";
import { blockDot } from "../core/src/ops/block-dot.ts";
import { blocks } from "../core/src/ops/blocks.ts";
import { cast, dot } from "../core/src/ops/build.ts";
import { openStream } from "../core/src/runtime/devices.ts";
import type { HardwareModel } from "../core/src/runtime/hardware.ts";
import { register } from "../core/src/runtime/registry.ts";
import { arbitrarySample, everyDtype, type Sample } from "./arbitrary/graphs.ts";
import { controlOps, wholeGraphOps } from "./arbitrary/ops.ts";
import { keepKernels, noSanitizers, runPlans, sanitized } from "./c-plans.ts";

const skip = noSanitizers();
const asked = process.env["SINAN_SANITIZE"];
const isFull = asked !== undefined;
const count = Number(asked ?? "16");
/** Graphs of one program: a compiler takes longer than in proportion for a larger one. */
const together = 24;

register({ codegen: keepKernels });
wideTiles();
const stream = await openStream("cpu:wasm");
const { hardware } = await stream.opened();

const ofLanes = (lanes: number): HardwareModel => ({
  ...hardware,
  id: `sanitized-${lanes}`,
  codegens: [keepKernels.name],
  compute: hardware.compute.map((u) => ({ ...u, lanes: (u.lanes * lanes) / 4 })),
  limits: { ...hardware.limits, vectorRegisters: lanes === 16 ? 32 : 16 },
});

const isPlanned = (op: Op): boolean => !(controlOps as readonly Op[]).includes(op);
const samples = fc.sample(
  arbitrarySample({
    dtypes: everyDtype,
    ops: wholeGraphOps.filter(isPlanned),
    maxNodes: 14,
  }),
  { numRuns: count, seed: Number(process.env["SINAN_SEED"] ?? "1") },
);

/** Runs each with vectors of 16, 8 or 4 in turn. */
function check(some: readonly Sample[], missing = 0): void {
  const cases = some.map(({ fn, args }, i) => {
    const lanes = [16, 8, 4][i % 3] as number;
    const inputs = args.map((v, j) => ("space" in (fn.params[j] as Node).type ? Number(v.data[0]) : encode(v)));
    const outputBytes = evaluate(fn, args).map((v) => encode(v).length - missing);
    return { plan: compile(fn, ofLanes(lanes)), lanes, inputs, outputBytes };
  });
  runPlans(cases, true, sanitized());
}

const filled = (fn: Fn): Sample => ({ fn, args: fn.params.map((p, i) => sample(dtypeOf(p), dimsOf(p), i)) });

/** A product whose operands lie along k or across it. */
function product([m, n, k]: readonly [number, number, number], layout: number): Fn {
  const dims = [layout === 2 ? [k, m] : [m, k], layout === 1 ? [n, k] : [k, n]];
  return group(
    dims.map((d) => ["f32", d] as const),
    (a, b) => dot(a, b, { contract: [[layout === 2 ? 0 : 1], [layout === 1 ? 1 : 0]], batch: [[], []] }),
  );
}

test("a write behind an output is found", { skip }, () => {
  assert.throws(() => check([filled(product([5, 37, 3], 0))], 4), /heap-buffer-overflow/);
});

test("products of prime sizes, packed and not, and attention", { skip }, () => {
  const shapes = [[3, 1, 67], [1, 37, 53], [37, 43, 67], ...(isFull ? ([[101, 47, 31]] as const) : [])] as const;
  const products = shapes.flatMap((shape, i) => (isFull ? [0, 1, 2] : [i % 3]).map((layout) => product(shape, layout)));
  const heads = (length: number, size: number) => ["f32", [2, 3, length, size]] as const;
  const attentions = [[7, 131, 24], ...(isFull ? [[67, 67, 16]] : [])].map(([q = 1, k = 1, size = 1]) =>
    group([heads(q, size), heads(k, size), heads(k, size)], (x, y, z) =>
      attention(
        { q: x, k: y, v: z, mask: undefined, lengths: undefined, starts: undefined },
        { causal: true, scale: 1 },
      ),
    ),
  );
  check([...products, ...attentions].map(filled));
});

/** Bytes, or codes of blocks, whose rows and columns end within a vector, and k within four. */
test("products of bytes, and of blocks with rows of 8 bits", { skip }, () => {
  const layouts = [0, 1].map((layout) => {
    const [m, n, k] = [9, 29, 47];
    return group(
      [[m, k] as const, layout === 1 ? ([n, k] as const) : ([k, n] as const)].map(
        (d, i) => [i === 0 ? "u8" : "i8", d] as const,
      ),
      (a, b) => dot(cast(a, "i32"), cast(b, "i32"), { contract: [[1], [layout === 1 ? 1 : 0]], batch: [[], []] }),
    );
  });
  const coded = (["q8_0", "q4_0"] as const).map((dtype) =>
    group(
      [
        ["i8", [9, 96]],
        ["f32", [9, 3]],
        ["i32", [9, 3]],
        ["u8", [29, (96 / 32) * dtypes[dtype].bytes]],
      ],
      (codes, scales, zeros, bytes) => blockDot(codes, scales, zeros, blocks(bytes, dtype)),
    ),
  );
  check([...layouts, ...coded, ...layouts].map(filled));
});

for (let from = 0; from < samples.length; from += together) {
  const some = samples.slice(from, from + together);
  test(`graphs ${from} to ${from + some.length} touch nothing that is not theirs`, { skip }, () => {
    check(some);
  });
}
