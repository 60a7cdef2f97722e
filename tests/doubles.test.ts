/** Functions of doubles against values of many digits, at arguments where they are hard: near zeros and ones, at numbers next to multiples
 *  of π/2, where erf's formulas meet, far out. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { cos, erf, erfc, exp, expm1, log, log1p, nn, sin, tanh, type Tensor, tensor } from "../core/src/index.ts";
import { onEachDevice } from "./devices.ts";

type Row = readonly [x: number, high: number, low: number];
const values = JSON.parse(readFileSync(new URL("fixtures/doubles/values.json", import.meta.url), "utf8")) as Readonly<
  Record<string, readonly Row[]>
>;

/** Functions, and their most errors in units in the last place; of gelu, a difference as PyTorch has it, in those of x. */
const functions: Readonly<Record<string, readonly [f: (x: Tensor) => Tensor, most: number]>> = {
  exp: [exp, 1],
  log: [log, 1],
  sin: [sin, 1],
  // The C library's is 8 units off at the double that is nearest to a multiple of π/2, the engine's 1.
  cos: [cos, 8],
  tanh: [tanh, 1.5],
  erf: [erf, 1.5],
  erfc: [erfc, 6],
  expm1: [expm1, 1],
  log1p: [log1p, 1],
  gelu: [nn.gelu, 1],
};

/** The distance of doubles at y's size. */
const ulp = (y: number): number => Math.max(2 ** -1074, 2 ** (Math.floor(Math.log2(Math.abs(y))) - 52));

onEachDevice("functions of f64 are right at hard arguments", async () => {
  for (const [name, [f, most]] of Object.entries(functions)) {
    const rows = values[name] ?? [];
    assert.ok(rows.length > 15, name);
    const got = await f(tensor(Float64Array.from(rows, ([x]) => x))).data();
    rows.forEach(([x, high, low], i) => {
      const error = Math.abs(Number(got[i]) - high - low) / ulp(name === "gelu" ? x : high);
      assert.ok(error <= most, `${name}(${x}): ${got[i]}, not ${high}: ${error} ulp`);
    });
  }
});
