import assert from "node:assert/strict";
import { test } from "node:test";
import { assert as assertProperty, bigInt, integer, property } from "fast-check";
import { ArgumentError, VerifyError } from "sinan/south";
import wabt from "wabt";
import { type Emit, type FunctionBody, type ValType, wasmModule } from "./assembler.ts";
import { stackChecker } from "./checker.ts";
import { opcodes, opNames } from "./opcodes.ts";
import { bulkMemory, multiMemory, probe, relaxedSimd, simd, threads } from "./probe.ts";

const checked = { check: stackChecker };
const features = { simd: true, relaxed_simd: true, threads: true, bulk_memory: true, sat_float_to_int: true };

/** The text that wabt, an assembler not written here, reads from the bytes. */
async function disassemble(bytes: Uint8Array): Promise<string> {
  const module = (await wabt()).readWasm(bytes, { ...features, readDebugNames: true });
  try {
    return module.toText({});
  } finally {
    module.destroy();
  }
}

function run(bytes: Uint8Array, name: string, imports: WebAssembly.Imports = {}) {
  const value = new WebAssembly.Instance(new WebAssembly.Module(bytes), imports).exports[name];
  assert.ok(typeof value === "function", `export ${name} is a function`);
  return value;
}

/** Calls a function without parameters that consists of `emit`. */
function evaluate(result: ValType, emit: Emit): unknown {
  const module = wasmModule(checked);
  module.fn([], [result], emit, { export: "f" });
  return run(module.bytes(), "f")();
}

const immediateOf: { readonly [kind: string]: readonly (number | readonly number[])[] } = {
  lane: [1],
  memory: [300],
  memoryLane: [1, 300],
  shuffle: [[0, 17, 2, 19, 4, 21, 6, 23, 8, 25, 10, 27, 12, 29, 14, 31]],
};

test("every instruction of the table is valid and wabt reads it back under its own name", async () => {
  const module = wasmModule(checked);
  module.importMemory("env", "memory", { min: 1, max: 1, shared: true });
  for (const name of opNames) {
    const { operands, results, immediate } = opcodes[name];
    module.fn(operands, results, (f, ...params) => {
      for (const param of params) f.get(param);
      const emit = f.op.bind(f) as (name: string, ...immediates: unknown[]) => void;
      emit(name, ...((immediate && immediateOf[immediate]) ?? []));
    });
  }
  const bytes = module.bytes();
  assert.doesNotThrow(() => new WebAssembly.Module(bytes)); // unlike validate it says what is wrong, and where

  const functions = (await disassemble(bytes)).split(/\n {2}\(func /).slice(1);
  assert.equal(functions.length, opNames.length);
  assert.ok(opNames.length > 250, `${opNames.length} instructions`);
  for (const [i, name] of opNames.entries()) {
    const text = functions[i] ?? "";
    const lines = text.split("\n").map((line) => line.trim().replace(/\)+$/, ""));
    const instruction = lines.slice(1).find((line) => line !== "" && !line.startsWith("local.get")) ?? "nothing";
    assert.equal(instruction.split(" ")[0], name, text);
    const { immediate } = opcodes[name];
    if (immediate === "memory" || immediate === "memoryLane") assert.match(instruction, /offset=300/);
    if (immediate === "lane" || immediate === "memoryLane") assert.match(instruction, / 1$/);
    if (immediate === "shuffle") assert.match(instruction, / 0 17 2 19 4 21 6 23 8 25 10 27 12 29 14 31$/);
  }
});

test("offset and alignment arrive as given", async () => {
  const module = wasmModule(checked);
  module.importMemory("env", "memory", { min: 1 });
  module.fn(["i32"], [], (f, address) => {
    f.get(address);
    f.op("v128.load", 0xffff_fff0, 4);
    f.drop();
    f.get(address);
    f.get(address);
    f.op("v128.load", 16);
    f.op("v128.store64_lane", 1, 24, 2);
  });
  const text = await disassemble(module.bytes());
  assert.match(text, /v128\.load offset=4294967280 align=4\n/);
  assert.match(text, /v128\.load offset=16\n/);
  assert.match(text, /v128\.store64_lane offset=24 align=2 1/);
});

test("integer constants keep their value at every length of LEB128", () => {
  for (const value of [0, 1, -1, 63, 64, -64, -65, 8191, 8192, -8192, -8193, 2 ** 31 - 1, -(2 ** 31)]) {
    assert.equal(
      evaluate("i32", (f) => f.i32(value)),
      value,
    );
  }
  assert.equal(
    evaluate("i32", (f) => f.i32(0xffff_ffff)),
    -1,
  );
  assert.equal(
    evaluate("i64", (f) => f.i64(2n ** 64n - 1n)),
    -1n,
  );
  assert.equal(
    evaluate("i64", (f) => f.i64(-5)),
    -5n,
  );
  assertProperty(property(integer(), (value) => evaluate("i32", (f) => f.i32(value)) === value));
  assertProperty(
    property(bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (value) => {
      return evaluate("i64", (f) => f.i64(value)) === value;
    }),
  );
});

test("float constants are bit-exact, a zero's sign with them", () => {
  assert.equal(
    evaluate("f32", (f) => f.f32(0.1)),
    Math.fround(0.1),
  );
  assert.equal(
    evaluate("f64", (f) => f.f64(0.1)),
    0.1,
  );
  assert.ok(
    Object.is(
      evaluate("f64", (f) => f.f64(-0)),
      -0,
    ),
  );
});

test("vector constants put the first lane at the lowest address", () => {
  const lane = (emit: (f: FunctionBody) => void, index: number) =>
    evaluate("f32", (f) => {
      emit(f);
      f.op("f32x4.extract_lane", index);
    });
  const values = [1.5, -2, Infinity, 4];
  const bytes = new Uint8Array(new Float32Array(values).buffer);
  for (const [index, value] of values.entries()) {
    assert.equal(
      lane((f) => f.v128(bytes), index),
      value,
    );
  }
  assert.throws(() => evaluate("v128", (f) => f.v128([1, 2, 3])), ArgumentError);
});

/** z[i] = a * x[i] + y[i] over n floats: four at a time, then one at a time. */
function axpy(f: FunctionBody, n: number, a: number, x: number, y: number, z: number): void {
  const i = f.local("i32");
  const wide = f.local("v128");
  const bytes = f.local("i32");
  f.get(n);
  f.i32(2);
  f.op("i32.shl");
  f.set(bytes);
  f.get(a);
  f.op("f32x4.splat");
  f.set(wide);
  const at = (pointer: number) => {
    f.get(pointer);
    f.get(i);
    f.op("i32.add");
  };
  for (const step of [16, 4] as const) {
    const [load, multiply, add, store] =
      step === 16
        ? (["v128.load", "f32x4.mul", "f32x4.add", "v128.store"] as const)
        : (["f32.load", "f32.mul", "f32.add", "f32.store"] as const);
    const done = f.block();
    const again = f.loop();
    f.get(i);
    f.i32(step);
    f.op("i32.add");
    f.get(bytes);
    f.op("i32.gt_u");
    f.brIf(done);
    at(z);
    at(x);
    f.op(load);
    f.get(step === 16 ? wide : a);
    f.op(multiply);
    at(y);
    f.op(load);
    f.op(add);
    f.op(store);
    f.get(i);
    f.i32(step);
    f.op("i32.add");
    f.set(i);
    f.br(again);
    f.end();
    f.end();
  }
  f.release(i, wide, bytes);
}

test("a SIMD loop with a scalar rest computes what JavaScript computes", () => {
  for (const shared of [false, true]) {
    const module = wasmModule(checked);
    module.importMemory("env", "memory", { min: 1, max: 4, shared });
    module.fn(
      ["i32", "f32", "i32", "i32", "i32"],
      [],
      (f, n = 0, a = 0, x = 0, y = 0, z = 0) => axpy(f, n, a, x, y, z),
      {
        export: "axpy",
      },
    );
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 4, shared });
    const floats = new Float32Array(memory.buffer);
    const saxpy = run(module.bytes(), "axpy", { env: { memory } });
    for (const n of [0, 1, 3, 4, 7, 64, 101]) {
      for (let i = 0; i < 128; i++) floats.set([i / 3, 1 / (i + 1), -1].map(Math.fround), i * 3);
      const before = floats.slice();
      saxpy(n, 1.7, 0, 512, 1024);
      for (let i = 0; i < 128; i++) {
        const product = Math.fround(Math.fround(1.7) * (before[i] ?? 0));
        const expected = i < n ? Math.fround(product + (before[128 + i] ?? 0)) : before[256 + i];
        assert.equal(floats[256 + i], expected, `n ${n}, i ${i}`);
      }
    }
  }
});

test("checking changes no byte", () => {
  const bytes = [stackChecker, undefined].map((check) => {
    const module = wasmModule({ check });
    module.importMemory("env", "memory", { min: 1 });
    module.fn(["i32", "f32", "i32", "i32", "i32"], [], (f, n = 0, a = 0, x = 0, y = 0, z = 0) =>
      axpy(f, n, a, x, y, z),
    );
    return module.bytes();
  });
  assert.deepEqual(bytes[0], bytes[1]);
});

test("a released local is handed out again, and only for its own type", () => {
  const module = wasmModule(checked);
  module.fn(["i32"], [], (f, param = 0) => {
    const first = f.local("v128");
    const second = f.local("f32");
    f.release(first);
    assert.notEqual(f.local("f32"), first);
    assert.equal(f.local("v128"), first);
    f.release(second);
    assert.throws(() => f.release(second), ArgumentError);
    assert.throws(() => f.release(param), ArgumentError);
    assert.throws(() => f.get(second), VerifyError);
  });
});

test("control: if with a result, a loop that carries values, return, recursion", () => {
  const module = wasmModule(checked);
  module.fn(
    ["i64"],
    ["i64"],
    (f, n = 0) => {
      f.get(n);
      f.op("i64.eqz");
      f.if(["i64"]);
      f.i64(1);
      f.else();
      f.get(n);
      f.get(n);
      f.i64(1);
      f.op("i64.sub");
      f.call(0);
      f.op("i64.mul");
      f.end();
    },
    { name: "factorial", export: true },
  );
  module.fn(
    ["i32"],
    ["i32"],
    (f, x = 0) => {
      const [one, zero] = [f.block(), f.block()];
      f.get(x);
      f.op("i32.eqz");
      f.brIf(zero);
      f.br(one);
      f.end();
      f.i32(100);
      f.return();
      f.end();
      f.i32(200);
    },
    { export: "pick" },
  );
  module.fn(
    ["i32"],
    ["i32"],
    (f, n = 0) => {
      f.i32(0);
      const again = f.loop(["i32"], ["i32"]);
      f.get(n);
      f.op("i32.add");
      f.get(n);
      f.i32(1);
      f.op("i32.sub");
      f.tee(n);
      f.brIf(again);
      f.end();
    },
    { export: "triangle" },
  );
  const bytes = module.bytes();
  assert.equal(run(bytes, "factorial")(20n), 2432902008176640000n);
  assert.deepEqual(
    [0, 1, 9].map((x) => run(bytes, "pick")(x)),
    [100, 200, 200],
  );
  assert.equal(run(bytes, "triangle")(10), 55);
});

test("imported functions and select", () => {
  const module = wasmModule(checked);
  const twice = module.importFunction("env", "twice", ["f64"], ["f64"]);
  const body = (f: FunctionBody, x = 0): void => {
    f.get(x);
    f.call(twice);
    f.f64(0.5);
    f.get(x);
    f.f64(0);
    f.op("f64.lt");
    f.select();
  };
  module.fn(["f64"], ["f64"], body, { export: "next" });
  const call = run(module.bytes(), "next", { env: { twice: (x: number) => 2 * x } });
  assert.equal(call(-3), -6);
  assert.equal(call(3), 0.5);
});

test("loads and stores name their memory", async () => {
  const module = wasmModule(checked);
  assert.equal(module.importMemory("env", "memory", { min: 1 }), 0);
  const second = module.importMemory("env", "memory1", { min: 1 });
  module.fn(
    ["i32"],
    [],
    (f, address) => {
      f.get(address);
      f.get(address);
      f.op("v128.load", 16, 4, second);
      f.op("v128.store", 32);
      f.get(address);
      f.get(address);
      f.op("v128.load", 32);
      f.op("v128.store32_lane", 2, 8, 4, second);
    },
    { export: "move" },
  );
  const [memory, memory1] = [new WebAssembly.Memory({ initial: 1 }), new WebAssembly.Memory({ initial: 1 })];
  new Float32Array(memory1.buffer, 80, 4).set([1, 2, 3, 4]);
  run(module.bytes(), "move", { env: { memory, memory1 } })(64);
  assert.deepEqual([...new Float32Array(memory.buffer, 96, 4)], [1, 2, 3, 4]);
  assert.equal(new Float32Array(memory1.buffer, 72, 1)[0], 3);
});

test("equal function types are stored once, and a trap shows the kernel's name", async () => {
  const module = wasmModule();
  module.importFunction("env", "log", ["i32"], []);
  for (const name of ["gemm 6x16", "gemm_edge"]) module.fn(["i32"], [], (f) => f.unreachable(), { name, export: true });
  const bytes = module.bytes();
  const text = await disassemble(bytes);
  assert.equal(text.match(/\(type /g)?.length, 1 + 3, "one definition, three uses");
  const kernel = run(bytes, "gemm_edge", { env: { log: () => undefined } });
  const named = (error: unknown) => error instanceof Error && /gemm_edge/.test(error.stack ?? "");
  assert.throws(() => kernel(0), named);
});

test("a module's own mistakes are typed errors", () => {
  const module = wasmModule();
  assert.throws(() => wasmModule().importMemory("env", "m", { min: 1, shared: true }), ArgumentError);
  assert.throws(() => wasmModule().importMemory("env", "m", { min: 2, max: 1 }), ArgumentError);
  module.fn([], [], () => undefined, { name: "once", export: true });
  assert.throws(() => module.fn([], [], () => undefined, { export: "once" }), ArgumentError);
  assert.throws(() => module.importFunction("env", "late", [], []), ArgumentError);
  assert.ok(WebAssembly.validate(module.bytes()));
});

test("mistyped names and missing immediates do not compile", () => {
  const module = wasmModule();
  module.fn([], [], (f) => {
    // @ts-expect-error: no such instruction
    assert.throws(() => f.op("f32x4.ad"));
    // @ts-expect-error: a lane is needed
    f.op("f32x4.extract_lane");
    // @ts-expect-error: add takes no immediate
    f.op("f32x4.add", 3);
    // @ts-expect-error: no such type
    assert.throws(() => f.local("i16"));
  });
});

test("probe finds all features in the Node that is pinned here", (t) => {
  if (Number(process.versions.node.split(".")[0]) < 24) return t.skip("an older Node may lack relaxed SIMD");
  for (const sample of [simd, relaxedSimd, threads, bulkMemory, multiMemory]) assert.equal(probe(sample), true);
});
