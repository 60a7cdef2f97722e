import assert from "node:assert/strict";
import { test } from "node:test";
import { within } from "../ir/scope.ts";
import { build } from "../ops/build.ts";
import { addIndex, affine, divIndex, modIndex, mulIndex } from "../ops/indexing.ts";
import type { Node } from "../ir/node.ts";
import { group } from "./kernel.fixture.ts";
import { makeRange } from "./nests.ts";
import { rejoined } from "./rejoin.ts";

test("an axis that is cut and joined again is read along itself; one that is joined in another order is not", () => {
  const [buffer] = group([["f32", [96]]], (x) => x).params as readonly [Node];
  within(buffer.scope, () => {
    const [row, d] = [makeRange(0, 3, "loop"), makeRange(1, 32, "loop")];
    const strides = (rest: number, quotient: number): (number | undefined)[] => {
      const column = addIndex(mulIndex(modIndex(d, 16), rest), mulIndex(divIndex(d, 16), quotient));
      const load = build("load", [buffer, addIndex(mulIndex(row, 32), column)], {}) as Node;
      const { terms } = affine(rejoined(load).src[1] as Node);
      return [terms.get(row), terms.get(d), terms.size];
    };
    assert.deepEqual(strides(1, 16), [32, 1, 2]);
    assert.deepEqual(strides(3, 48), [32, 3, 2]);
    assert.deepEqual(strides(2, 1), [32, undefined, 3]);
  });
});
