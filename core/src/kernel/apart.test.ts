/** Nests that may run at one time: beside a count of all places, and the nests that products become. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Node } from "../ir/node.ts";
import { within } from "../ir/scope.ts";
import { tensorType } from "../ir/type.ts";
import { build, dot, lt, scalar } from "../ops/build.ts";
import { addIndex, constIndex, mulIndex } from "../ops/indexing.ts";
import { newScope } from "../ops/table.ts";
import type { HardwareModel } from "../runtime/hardware.ts";
import { areApart } from "./apart.ts";
import { scheduled } from "./heuristics.ts";
import { check, group, hardware } from "./kernel.fixture.ts";
import { lower } from "./lower.ts";
import { makeNest, makeRange, type NestNode, nestsOf, rangesIn } from "./nests.ts";
import { shareTiles } from "./shared-tiles.ts";
import { wideTiles } from "./products/wide-tile.ts";

wideTiles();

/** What a store's index is made of: a constant, and ranges with their strides; the first range may have a limit. */
interface Places {
  readonly constant: number;
  readonly terms: readonly (readonly [stride: number, extent: number])[];
  readonly limit: number;
}

function nestOf(buffer: Node, { constant, terms, limit }: Places, id: number): NestNode {
  const ranges = terms.map(([, extent], i) => makeRange(id + i, extent, "loop"));
  const index = terms.reduce(
    (sum, [stride], i) => addIndex(sum, mulIndex(ranges[i] as Node, stride)),
    constIndex(constant),
  );
  const masks = ranges[0] && limit < ranges[0].attr.extent ? [lt(ranges[0], constIndex(limit))] : [];
  return makeNest(
    [build("store", [buffer, index, scalar(1, "f32"), ...masks], {})],
    [...rangesIn([index, ...masks]).keys()],
  );
}

function all({ constant, terms, limit }: Places): Set<number> {
  let places = [constant];
  terms.forEach(([stride, extent], i) => {
    const count = i === 0 ? Math.min(limit, extent) : extent;
    places = places.flatMap((at) => Array.from({ length: count }, (_, n) => at + n * stride));
  });
  return new Set(places);
}

test("nests that are found apart have no place in common", () => {
  const places = fc.record({
    constant: fc.integer({ min: 0, max: 40 }),
    terms: fc.array(fc.tuple(fc.constantFrom(1, 2, 3, 8, 16, 24), fc.integer({ min: 1, max: 4 })), { maxLength: 3 }),
    limit: fc.integer({ min: 1, max: 4 }),
  });
  let found = 0;
  fc.assert(
    fc.property(places, places, (a, b) => {
      const apart = within(newScope(), () => {
        const buffer = build("param", [], { index: 0, name: "p", type: tensorType("f32", [1000]) });
        return areApart(nestOf(buffer, a, 0), nestOf(buffer, b, 10));
      });
      if (!apart) return;
      found++;
      assert.ok([...all(a)].every((at) => !all(b).has(at)));
    }),
    { numRuns: 2000 },
  );
  assert.ok(found > 200, `${found} of 2000 were found apart`);
});

const avx512: HardwareModel = {
  ...hardware,
  compute: [{ unit: "vector", dtype: "f32", lanes: 16 }],
  limits: { ...hardware.limits, vectorRegisters: 32 },
};

/** xᵀ · y: both operands are packed, and rows and columns are left over. */
const product = (m: number, n: number, k: number) =>
  group(
    [
      ["f32", [k, m]],
      ["f32", [k, n]],
    ],
    (x, y) => dot(x, y, { contract: [[0], [0]], batch: [[], []] }),
  );

test("what packs is apart from what packs, and what is left over of a product from its tiles; never both of both", () => {
  const nests = nestsOf(scheduled(lower(product(52, 152, 40)), avx512));
  const isPack = (nest: NestNode): boolean => nest.src.every((s) => s.src[0]?.op === "scratch");
  const packs = nests.filter(isPack).length;
  assert.ok(packs > 2 && nests.length > packs + 2, `${packs} of ${nests.length} pack`);
  nests.forEach((a, i) =>
    nests
      .slice(i + 1)
      .forEach((b, j) => assert.equal(areApart(a, b), isPack(a) === isPack(b), `${i} and ${i + 1 + j}`)),
  );
});

test("threads share all outer loops of a product, and that changes nothing", () => {
  for (const [m, n, k] of [
    [28, 152, 40],
    [66, 130, 17],
    [7, 64, 96],
  ] as const) {
    const fn = product(m, n, k);
    const shared = (nest: NestNode): number =>
      [...rangesIn(nest.src).values()].filter((r) => r.attr.kind === "parallel").length;
    const kernel = shareTiles(scheduled(lower(fn), avx512));
    if (m > 60) assert.ok(nestsOf(kernel).some((nest) => shared(nest) > 1));
    check(fn, undefined, () => kernel);
  }
});
