import assert from "node:assert/strict";
import { test } from "node:test";
import { VerifyError } from "sinan/south";
import { type Emit, wasmModule } from "./assembler.ts";
import { stackChecker } from "./checker.ts";

const checked = { check: stackChecker };

const lanes = new Uint8Array(16);

const mistakes: readonly [what: string, emit: Emit, message: RegExp][] = [
  [
    "a wrong operand",
    (f) => [f.i32(1), f.f32(2), f.op("i32.add"), f.drop()],
    /"broken", instruction 2 \(i32\.add\): expected an operand of type i32, found f32/,
  ],
  [
    "an empty stack",
    (f) => [f.f32(2), f.op("f32x4.splat"), f.op("f32x4.add")],
    /instruction 2 .*this function has none left/,
  ],
  [
    "an operand from outside the block",
    (f) => [f.i32(1), f.block(), f.drop()],
    /instruction 2 .*this block has none left/,
  ],
  ["a result that stays", (f) => f.i32(1), /instruction 1 \(end\): leaves 1 operand/],
  ["a block without its result", (f) => [f.block(["f32"]), f.end()], /\(end\): expected an operand of type f32/],
  ["an if that cannot skip", (f) => [f.i32(1), f.if(["i32"]), f.i32(2), f.end()], /if without else/],
  ["an else without if", (f) => [f.block(), f.else()], /no if to belong to/],
  ["an end too many", (f) => f.end(), /no block is open/],
  ["an open block", (f) => f.block(), /1 block\(s\) still open/],
  ["a branch without its value", (f) => f.br(f.block(["i32"])), /\(br\): expected an operand of type i32/],
  ["a label that is closed", (f) => [f.block(), f.end(), f.br(1)], /label 1, which is not open/],
  ["no such local", (f) => f.get(7), /there is no local 7/],
  ["a wrong local", (f) => [f.i32(1), f.set(f.local("f32"))], /expected an operand of type f32, found i32/],
  ["no such function", (f) => f.call(9), /there is no function 9/],
  ["no such lane", (f) => [f.v128(lanes), f.op("f32x4.extract_lane", 4)], /lane 4 is not an integer from 0 to 3/],
  ["no such byte", (f) => [f.v128(lanes), f.v128(lanes), f.op("i8x16.shuffle", [32])], /takes 16 lanes, 1 came/],
  ["too large an alignment", (f) => [f.i32(0), f.op("f32.load", 0, 8)], /alignment 8 is not a power of two up to 4/],
  ["an unaligned atomic", (f) => [f.i32(0), f.i32(1), f.op("memory.atomic.notify", 0, 2)], /equal to 4 bytes/],
  ["a negative offset", (f) => [f.i32(0), f.op("f32.load", -4)], /offset -4/],
  [
    "operands of two types for select",
    (f) => [f.i32(1), f.f32(1), f.i32(1), f.select()],
    /\(select\): expected .* f32, found i32/,
  ],
];

for (const [what, emit, message] of mistakes) {
  test(`the checker finds ${what}`, () => {
    const module = wasmModule(checked);
    const thrown = (error: unknown) => error instanceof VerifyError && message.test(error.message);
    assert.throws(() => module.fn([], [], emit, { name: "broken" }), thrown);
  });
}

test("the checker lets anything follow an instruction that never continues, as the engine does", () => {
  const module = wasmModule(checked);
  module.fn([], ["i32"], (f) => {
    const out = f.block(["i32"]);
    f.i32(1);
    f.br(out);
    f.op("f32.add");
    f.drop();
    f.end();
    f.return();
    f.select();
  });
  assert.ok(WebAssembly.validate(module.bytes()));
});
