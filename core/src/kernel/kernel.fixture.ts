/** What the tests of this folder share: small groups, arguments, and the comparison with the interpreter. */
import assert from "node:assert/strict";
import { evaluate } from "../interpreter/evaluate.ts";
import { type Value, valueOf } from "../interpreter/value.ts";
import type { Dim } from "../ir/dim.ts";
import { type DType, dtypes } from "../ir/dtype.ts";
import { type Fn, makeFn } from "../ir/fn.ts";
import { type Node, tensorTypeOf } from "../ir/node.ts";
import { within } from "../ir/scope.ts";
import { type Space, tensorType } from "../ir/type.ts";
import { build } from "../ops/build.ts";
import { newScope } from "../ops/table.ts";
import type { HardwareModel } from "../runtime/hardware.ts";
import { computeNarrow } from "./carriers.ts";
import { evaluateKernel } from "./evaluate.ts";
import { orderLoops } from "./loop-orders.ts";
import { lower } from "./lower.ts";

computeNarrow();
orderLoops();

/** A machine with vectors of four f32, as WebAssembly's. */
export const hardware: HardwareModel = {
  id: "test",
  driver: "test",
  kind: "cpu",
  vendor: "",
  available: true,
  codegens: ["wasm"],
  dtypes: { f32: "native" },
  compute: [
    { unit: "vector", dtype: "f32", lanes: 4 },
    { unit: "vector", dtype: "f64", lanes: 2 },
  ],
  memory: [{ name: "l2", bytes: 2 ** 19 }],
  unified: true,
  features: [],
  limits: { alignment: 64, maxBuffers: 64, maxBytes: 2 ** 31, vectorRegisters: 16, aliasing: false },
};

type Parameter = readonly [dtype: DType, dims: readonly Dim[], space?: Space];

/** A group of one function of its parameters. */
export const group = (params: readonly Parameter[], body: (...p: Node[]) => Node | readonly Node[]): Fn =>
  within(newScope(), () => {
    const nodes = params.map(([dtype, dims, space], index) =>
      build("param", [], { index, name: `p${index}`, type: tensorType(dtype, dims, space) }),
    );
    const results = body(...(nodes as Node[]));
    return makeFn("group", nodes, Array.isArray(results) ? results : [results as Node]);
  });

/** Numbers that are exact in every float dtype, so that results are compared exactly. */
export const sample = (dtype: DType, dims: readonly Dim[], seed: number): Value => {
  const count = dims.reduce<number>((n, d) => n * (d as number), 1);
  return valueOf(
    dtype,
    dims as number[],
    Array.from(
      { length: count },
      (_, i) => ((i * 7 + seed * 3) % 11) - (dtypes[dtype].kind === "uint" || dtype === "bool" ? 0 : 4),
    ),
  );
};

/** Checks the kernel, as lowered and as `change` makes it, against the interpreter.
 *  @param tolerance 0: to the bit; otherwise relative, with 1 as the least scale */
export function check(fn: Fn, given?: readonly Value[], change: (kernel: Fn) => Fn = (k) => k, tolerance = 0): void {
  const args = given ?? fn.params.map((p, i) => sample(tensorTypeOf(p).dtype, tensorTypeOf(p).dims, i));
  const isHost = (i: number) => tensorTypeOf(fn.params[i] as Node).space === "host";
  const buffers = args.filter((_, i) => !isHost(i)).map((v) => v.data);
  const scalars = args.filter((_, i) => isHost(i)).map((v) => v.data[0] as number);
  const got = evaluateKernel(change(lower(fn)), buffers, scalars);
  evaluate(fn, args).forEach((want, i) => {
    const [mine, theirs] = [Array.from(got[i] as Float64Array, Number), Array.from(want.data as Float64Array, Number)];
    if (tolerance === 0) return assert.deepEqual(mine, theirs, `result ${i}`);
    theirs.forEach((y, at) =>
      assert.ok(
        Object.is(mine[at], y) || Math.abs((mine[at] as number) - y) <= tolerance * Math.max(1, Math.abs(y)),
        `result ${i}[${at}]: ${mine[at]}, not ${y}`,
      ),
    );
  });
}
