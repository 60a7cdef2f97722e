/** Errors of the elementary functions in f32, in units in the last place: against NumPy's tables on every device, and against doubles
 *  at drawn arguments where WebAssembly computes them. `npm run bench -- accuracy` goes over every f32. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { functions } from "../bench/src/accuracy/functions.ts";
import { erf } from "../bench/src/accuracy/erf.ts";
import { powPairs, words, worstPower } from "../bench/src/accuracy/power.ts";
import { compareAt } from "../bench/src/accuracy/sweep.ts";
import { ulpError } from "../bench/src/accuracy/ulp.ts";
import { device, type Tensor, tensor } from "../core/src/index.ts";
import { onEachDevice } from "./devices.ts";

interface Tables {
  readonly tables: Readonly<Record<string, { readonly rows: number; readonly allowed: number; readonly data: string }>>;
}

const { tables } = JSON.parse(readFileSync(new URL("fixtures/ulp/tables.json", import.meta.url), "utf8")) as Tables;

/** Of a correctly rounded result, so half an ulp more than of the exact one. */
const most = 2;

onEachDevice("exp, log, sin, cos and tanh are right in NumPy's tables", async () => {
  for (const [name, { rows, allowed, data }] of Object.entries(tables)) {
    const floats = new Float32Array(Uint8Array.from(atob(data), (c) => c.charCodeAt(0)).buffer);
    assert.equal(floats.length, 2 * rows);
    const ours = functions[name]?.ours as (x: Tensor) => Tensor;
    const got = await ours(tensor(floats.filter((_, i) => i % 2 === 0))).data();
    const bound = Math.min(allowed, most);
    floats
      .filter((_, i) => i % 2 === 1)
      .forEach((expected, i) => {
        const error = ulpError(Number(got[i]), expected);
        assert.ok(error <= bound, `${name}(${floats[2 * i]}): ${got[i]}, not ${expected}: ${error} ulp`);
      });
  }
});

/** Bits of any f32; and numbers of everyday sizes, where most of what a function does happens. */
function drawn(seed: number): Float32Array {
  const draw = words(seed);
  const any = new Uint32Array(2 ** 15).map(draw);
  const usual = Float32Array.from(
    { length: 2 ** 15 },
    () => (draw() & 1 ? 1 : -1) * 2 ** (16 * (draw() / 2 ** 32) - 10),
  );
  const xs = new Float32Array(2 ** 16);
  xs.set(new Float32Array(any.buffer));
  xs.set(usual, 2 ** 15);
  return xs;
}

test("functions are within 2 ulp on WebAssembly, powers within 4", async () => {
  await device("cpu");
  for (const [name, swept] of Object.entries(functions)) {
    const { error, at } = await compareAt(swept, drawn(7));
    assert.ok(error <= 2, `${name}(${at}): ${error} ulp`);
  }
  const { error, at } = await worstPower(powPairs(7), 2 ** 18);
  assert.ok(error <= 4, `pow(${at}): ${error} ulp`);
});

test("an ulp is that of the exact result's binade, or of the subnormals", () => {
  assert.equal(ulpError(1 + 2 ** -23, 1), 1);
  assert.equal(ulpError(1 - 2 ** -24, 1), 0.5);
  assert.equal(ulpError(1, 1 - 2 ** -24), 1);
  assert.equal(ulpError(2 ** -149, 0), 1);
  assert.equal(ulpError(Number.POSITIVE_INFINITY, 2 ** 128 - 2 ** 104), 1);
  assert.equal(ulpError(Number.NaN, 0), Number.POSITIVE_INFINITY);
  assert.equal(ulpError(0, -0), 0);
});

test("the reference of erf has the tabulated values", () => {
  // Abramowitz & Stegun, table 7.1, to ten digits.
  const table: readonly (readonly [number, number])[] = [
    [0.02, 0.0225645747],
    [0.5, 0.5204998778],
    [0.84, 0.7651427115],
    [1, 0.8427007929],
    [1.24, 0.9205051843],
    [1.5, 0.9661051465],
    [2, 0.995322265],
  ];
  for (const [x, y] of table) assert.ok(Math.abs(erf(x) - y) < 6e-11, `erf(${x}) = ${erf(x)}, not ${y}`);
});
