/** Which steps of a convolution's sum see only zeros, beside the place in memory that each step reads. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Node } from "../ir/node.ts";
import { within } from "../ir/scope.ts";
import { conv, convWeights } from "../ops/convolution.ts";
import { constIndex } from "../ops/indexing.ts";
import { type Point, points } from "./c-like/text.ts";
import { guardOf, spanOf } from "./edges.ts";
import { group } from "./kernel.fixture.ts";
import { lower } from "./lower.ts";
import { accumulatesIn, type AccumulateNode, kernelNode, nestsOf, type RangeNode, rangesIn } from "./nests.ts";
import { substitute } from "./substitute.ts";

const padded = { height: 7, width: 6 } as const;

const at = (n: Node, point: Point): Node => {
  const [made] = substitute([n], {
    range: (r) => {
      const value = point.get(r);
      return value === undefined ? undefined : constIndex(value);
    },
  });
  return made as Node;
};
const number = (n: Node, point: Point): number => {
  const made = at(n, point);
  assert.equal(made.op, "const");
  return made.op === "const" ? made.attr.value : Number.NaN;
};

/** Whether a step, where all ranges have values, reads one of the zeros: by its place in the array. */
function readsZero(sum: AccumulateNode, point: Point, [top, left, bottom, right]: readonly number[]): boolean {
  const load = (sum.src[0] as Node).src[0] as Node;
  const place = number(load.src[1] as Node, point) % (padded.height * padded.width);
  const [y, x] = [Math.floor(place / padded.width), place % padded.width];
  return (
    y < (top as number) ||
    x < (left as number) ||
    y >= padded.height - (bottom as number) ||
    x >= padded.width - (right as number)
  );
}

const amount = fc.integer({ min: 0, max: 2 });

test("what is left out reads zeros, and all of an axis that does is left out", () => {
  let bounded = 0;
  let guarded = 0;
  fc.assert(
    fc.property(
      fc.tuple(amount, amount, amount, amount),
      fc.constantFrom(1, 2),
      fc.constantFrom(1, 2),
      fc.boolean(),
      (zeros, stride, dilation, ofWeights) => {
        const steps = { strides: [stride, stride], dilations: [dilation, 1], zeros };
        const image = ["f32", [2, 1, 2, padded.height, padded.width]] as const;
        const count = (length: number, reach: number): number => Math.floor((length - reach) / stride) + 1;
        const out = [count(padded.height, 2 * dilation + 1), count(padded.width, 2)];
        const fn = group([image, ["f32", ofWeights ? [2, 1, 3, ...out] : [1, 3, 2, 3, 2]]], (x, w) =>
          ofWeights ? convWeights(x, w, { ...steps, sizes: [3, 2] }) : conv(x, w, steps),
        );
        const kernel = lower(fn);
        within(kernelNode(kernel).scope, () => {
          const [sum] = nestsOf(kernel).flatMap((n) => accumulatesIn(n.src)) as [AccumulateNode];
          const all = [...rangesIn([sum.src[0] as Node]).values()];
          for (const r of sum.src.slice(1) as RangeNode[]) {
            const span = spanOf(sum, r, () => true);
            for (const point of points(all.filter((other) => other !== r))) {
              const isZero = (i: number): boolean => readsZero(sum, new Map(point).set(r, i), zeros);
              const begin = span?.begin ? Math.max(0, number(span.begin, point)) : 0;
              const end = span?.end ? Math.min(r.attr.extent, number(span.end, point)) : r.attr.extent;
              const guard = guardOf(sum, at(sum.src[0] as Node, point), r);
              for (let i = 0; i < r.attr.extent; i++) {
                if (i < begin || i >= end) assert.ok(isZero(i));
                if (guard && (i < guard.from || i >= guard.to)) assert.ok(isZero(i));
              }
              if (span?.begin || span?.end) bounded++;
              if (guard) guarded++;
              // Of what is left the first and the last step see elements, where any does.
              const seen = Array.from({ length: r.attr.extent }, (_, i) => i).filter((i) => !isZero(i));
              if (seen.length > 0 && stride === 1 && dilation === 1 && guard)
                assert.deepEqual([guard.from, guard.to - 1], [seen[0], seen.at(-1)]);
            }
          }
        });
      },
    ),
    { numRuns: 16 },
  );
  assert.ok(bounded > 50 && guarded > 50, `${bounded} bounds, ${guarded} guards`);
});
