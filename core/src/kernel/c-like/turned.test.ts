import assert from "node:assert/strict";
import { test } from "node:test";
import { turned } from "./turned.ts";

test("exchanges of halves turn a block: row i becomes column i", () => {
  for (const lanes of [2, 4, 8, 16]) {
    const rows = Array.from({ length: lanes }, (_, i) => Array.from({ length: lanes }, (__, j) => `${i},${j}`));
    let exchanges = 0;
    const columns = turned(rows, (a, b, distance, upper) => {
      exchanges++;
      const shift = upper ? distance : 0;
      return a.map((_, l) => ((l & distance) === 0 ? a[l + shift] : b[l - distance + shift]) as string);
    });
    assert.deepEqual(
      columns,
      rows.map((_, i) => rows.map((row) => row[i])),
    );
    assert.equal(exchanges, lanes * Math.log2(lanes));
  }
});
