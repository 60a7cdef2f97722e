import assert from "node:assert/strict";
import { test } from "node:test";
import { summary } from "./mean.ts";

const peer = (value: number) => ({ name: "torch", version: "1", value });
const of = { bench: "gemm", device: "cpu-wasm", threads: 1 } as const;

test("means are geometric, over the best peer of each case, and the least is where that peer is furthest ahead", () => {
  const pairs = [
    { name: "a", ours: 4, theirs: [peer(2), peer(1)] },
    { name: "b", ours: 9, theirs: [peer(18)] },
    { name: "alone", ours: 1000, theirs: [] },
  ];
  const names = { mean: "mean", least: "least", best: "best" };
  const [mean, least] = [...summary({ ...of, unit: "GFLOP/s" }, pairs, names)];
  assert.deepEqual([mean?.value, mean?.peer?.value, mean?.ratio], [6, 6, 1]);
  assert.equal(mean?.note, "2 cases, 1 faster than every peer");
  assert.deepEqual([least?.value, least?.peer?.value, least?.ratio, least?.note], [9, 18, 0.5, "b"]);
  // Of times the best is the shortest.
  const [, slowest] = [...summary({ ...of, unit: "ms" }, pairs, names)];
  assert.deepEqual([slowest?.note, slowest?.peer?.value, slowest?.ratio], ["a", 1, 0.25]);
  assert.deepEqual([...summary({ ...of, unit: "ms" }, pairs.slice(2), names)], []);
});
