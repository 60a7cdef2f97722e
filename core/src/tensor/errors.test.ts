/** Wrong calls: each error is typed, names the operation, what came, and the user's line. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { before, test } from "node:test";
import * as s from "../index.ts";
import {
  ArgumentError,
  DTypeError,
  type Operand,
  ShapeError,
  type SinanError,
  tensor,
  TreeError,
  zeros,
} from "../index.ts";

before(() => s.device("interpreter"));

interface Wrong {
  readonly what: string;
  readonly call: () => unknown;
  readonly error: new (message: string) => SinanError;
  readonly says: readonly (string | RegExp)[];
}

const [x, y, blocks] = [zeros([2, 3]), zeros([4]), s.fromBytes("q8_0", [32], new Uint8Array(34))];
const [whole, unsigned] = [zeros([2], { dtype: "i32" }), zeros([2], { dtype: "u32" })];

const wrong: readonly Wrong[] = [
  { what: "add", call: () => x.add(y), error: ShapeError, says: ["add", "[2, 3]", "[4]"] },
  { what: "where", call: () => s.where(x, x, x), error: DTypeError, says: ["where", "bool", "f32"] },
  { what: "where-shape", call: () => s.where(x.less(0), x, y), error: ShapeError, says: ["where", "[2, 3]", "[4]"] },
  { what: "and", call: () => x.and(x), error: DTypeError, says: ["and", "f32[2, 3]"] },
  { what: "blocks", call: () => blocks.add(blocks), error: DTypeError, says: ["add", "q8_0[32]", "dequantize"] },
  { what: "blocks-mixed", call: () => blocks.add(y), error: DTypeError, says: ["q8_0 and f32", "dequantize"] },
  { what: "text", call: () => s.add(x, "1" as unknown as Operand), error: ArgumentError, says: ["add", "string"] },
  {
    what: "matmul",
    call: () => s.matmul(x, x),
    error: ShapeError,
    says: ["dot", "f32[2, 3]", "axis 1 is 3", "transpose"],
  },
  { what: "matmul-scalar", call: () => s.matmul(x, tensor(1)), error: ShapeError, says: ["matmul", "f32[]"] },
  { what: "dot", call: () => s.dot(x, y, { contract: [[5], [0]] }), error: ShapeError, says: ["dot", "-2..1", "5"] },
  { what: "reshape", call: () => x.reshape([4]), error: ShapeError, says: ["reshape", "f32[2, 3]", "6", "[4]"] },
  { what: "reshape-open", call: () => x.reshape([4, -1]), error: ShapeError, says: ["reshape", "f32[2, 3]", "-1"] },
  { what: "transpose", call: () => x.transpose([0, 0]), error: ShapeError, says: ["permute", "f32[2, 3]"] },
  { what: "broadcast", call: () => x.broadcast([3, 3]), error: ShapeError, says: ["broadcast", "[2, 3]", "[3, 3]"] },
  { what: "broadcast-fewer", call: () => x.broadcast([3]), error: ShapeError, says: ["f32[2, 3]", "[3]"] },
  { what: "axis", call: () => x.sum(2), error: ShapeError, says: ["sum", "-2..1", "2"] },
  { what: "axes", call: () => x.max([0, -2]), error: ShapeError, says: ["max", "twice"] },
  { what: "squeeze", call: () => x.squeeze(0), error: ShapeError, says: ["squeeze", "axis 0", "f32[2, 3]"] },
  { what: "pad", call: () => x.pad([[1, 1]]), error: ShapeError, says: ["pad", "2 pairs", "1"] },
  { what: "pad-negative", call: () => y.pad([[-1, 1]]), error: ShapeError, says: ["pad", "-1"] },
  { what: "narrow", call: () => x.narrow(1, 2, 2), error: ShapeError, says: ["slice", "f32[2, 3]"] },
  { what: "split", call: () => x.split(2, 1), error: ShapeError, says: ["split", "axis 1", "f32[2, 3]", "2"] },
  { what: "at", call: () => x.at(2), error: ShapeError, says: ["at", "2", "axis 0", "f32[2, 3]"] },
  { what: "at-many", call: () => x.at(0, 0, 0), error: ShapeError, says: ["at", "3 entries", "f32[2, 3]"] },
  { what: "at-fraction", call: () => x.at(0.5), error: ShapeError, says: ["0.5"] },
  { what: "slice", call: () => x.at(s.slice(0, 1, 0)), error: ArgumentError, says: ["slice", "0"] },
  { what: "concat", call: () => s.concat([x, y]), error: ShapeError, says: ["concat", "f32[2, 3]", "f32[4]"] },
  { what: "concat-none", call: () => s.concat([]), error: ArgumentError, says: ["concat", "at least one"] },
  { what: "concat-dtype", call: () => s.concat([whole, unsigned]), error: DTypeError, says: ["concat", "i32", "u32"] },
  { what: "stack", call: () => s.stack([x, y]), error: ShapeError, says: ["concat", "f32[1, 2, 3]"] },
  { what: "take", call: () => x.take(y), error: DTypeError, says: ["gather", "i32 or u32", "f32[4]"] },
  { what: "scatter", call: () => x.scatter(whole, zeros([5, 3])), error: ShapeError, says: ["[5, 3]"] },
  { what: "tril", call: () => y.tril(), error: ShapeError, says: ["tril", "f32[4]"] },
  { what: "bitcast", call: () => x.bitcast("f64"), error: DTypeError, says: ["bitcast", "f32", "f64"] },
  { what: "dtype", call: () => x.cast("f8" as "f32"), error: DTypeError, says: ["f8", "known"] },
  { what: "ragged", call: () => tensor([[1], [1, 2]]), error: ShapeError, says: ["ragged", "[1]", "[2]"] },
  { what: "ragged-rank", call: () => tensor([1, [1]]), error: ShapeError, says: ["ragged"] },
  { what: "values", call: () => tensor([1, 2], { shape: [3] }), error: ShapeError, says: ["2 values", "[3]"] },
  { what: "not-numbers", call: () => tensor(["a"] as unknown as number[]), error: ArgumentError, says: ["string"] },
  {
    what: "bytes",
    call: () => s.fromBytes("f32", [2], new Uint8Array(7)),
    error: ShapeError,
    says: ["f32[2]", "8", "7"],
  },
  { what: "negative", call: () => zeros([-1]), error: ShapeError, says: ["[-1]"] },
  { what: "arange", call: () => s.arange(0, 1, 0), error: ArgumentError, says: ["arange", "by 0"] },
  { what: "iota", call: () => s.iota([2], 1), error: ShapeError, says: ["iota", "axis 1"] },
  {
    what: "assign",
    call: () => zeros([2]).assign(zeros([3])),
    error: ShapeError,
    says: ["assign", "f32[2]", "f32[3]"],
  },
  {
    what: "grad",
    call: () => s.grad((v: s.Tensor) => v)(x),
    error: ShapeError,
    says: ["valueAndGrad", "f32[2, 3]", "mean"],
  },
  { what: "tree", call: () => s.tree.map((a) => a, { w: x }, { v: x }), error: TreeError, says: ["w", "first only"] },
  { what: "key", call: () => s.key(-1), error: ArgumentError, says: ["key", "-1"] },
];

const lines = readFileSync(new URL(import.meta.url), "utf8").split("\n");

for (const { what, call, error, says } of wrong)
  test(`${what}: a ${error.name} that says what and where`, () => {
    assert.throws(call, (thrown: SinanError) => {
      assert.equal(thrown.constructor, error, String(thrown));
      assert.equal(thrown.name, error.name);
      for (const part of says)
        assert.ok(typeof part === "string" ? thrown.message.includes(part) : part.test(thrown.message), thrown.message);
      const at = /tensor\/errors\.test\.ts:(\d+):\d+/.exec(thrown.message);
      assert.ok(at, `no line of this file in: ${thrown.message}`);
      const before = lines.slice(0, Number(at[1])).findLast((line) => line.includes("what: ") && line.includes('"'));
      assert.ok(before?.includes(`what: "${what}"`), `${thrown.message}\nis not at ${what}`);
      return true;
    });
  });

test("an error of a nested operation says the line once", () => {
  assert.throws(
    () => x.sub(y).softmax(),
    (e: SinanError) => e.message.split("errors.test.ts").length === 2,
  );
});
