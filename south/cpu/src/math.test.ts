import assert from "node:assert/strict";
import { test } from "node:test";
import { math, mathText } from "./math.ts";

test("what workers get as text needs nothing around it and computes the same", async () => {
  const text = `data:text/javascript,${encodeURIComponent(`export default ${mathText()}`)}`;
  const { default: theirs } = (await import(text)) as { readonly default: typeof math };
  const numbers = [0, 0.25, -0.75, 1, -1.5, 3, 7, Number.POSITIVE_INFINITY, Number.NaN];
  assert.deepEqual(Object.keys(theirs), Object.keys(math));
  for (const name of ["exp", "log", "sin", "cos", "tanh", "erf"] as const)
    for (const x of numbers) assert.equal(theirs[name](x), math[name](x), `${name}(${x})`);
  for (const name of ["pow", "fmod"] as const)
    for (const x of numbers)
      for (const y of numbers) assert.equal(theirs[name](x, y), math[name](x, y), `${name}(${x}, ${y})`);
});
