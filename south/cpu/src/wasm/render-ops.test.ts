import assert from "node:assert/strict";
import { test } from "node:test";
import {
  build,
  carrierOf,
  define,
  type DType,
  dtypeOf,
  dtypes,
  type Fn,
  fromBf16,
  fromF16,
  isFloat,
  makeFn,
  newScope,
  type Node,
  type Op,
  roundTo,
  tensorType,
  toBf16,
  toF16,
  whole,
  within,
} from "sinan/south";
import { cpuDriver } from "../index.ts";
import { run, runBytes } from "./rig.ts";

const device = await cpuDriver.open("cpu");

/** y[i] = body(x0[i], x1[i], …), `width` elements at a time. */
function pointwise(from: readonly DType[], to: DType, count: number, width: number, body: (...x: Node[]) => Node): Fn {
  return within(newScope(), () => {
    const param = (dtype: DType, index: number) =>
      build.build("param", [], { index, name: `p${index}`, type: tensorType(dtype, [count]) });
    const inputs = from.map(param);
    const out = param(to, from.length);
    const outer = build.build("range", [], { id: 0, extent: count / width, kind: "loop" });
    const lane = build.build("range", [], { id: 1, extent: width, kind: "vector" });
    const index = width === 1 ? outer : build.add(build.mul(outer, build.scalar(width, "i32")), lane);
    const value = body(...inputs.map((p) => build.build("load", [p, index], {})));
    const store = build.build("store", [out, index, value], {});
    const nest = build.build("nest", [store], { order: width === 1 ? [0] : [0, 1] });
    return makeFn("pointwise", [...inputs, out], [build.build("kernel", [nest], {})]);
  });
}

const floats = [
  0,
  -0,
  1,
  -1,
  0.5,
  -0.5,
  1.5,
  2.5,
  -2.5,
  3,
  -7,
  1e-3,
  100.25,
  -123456.75,
  2 ** 31,
  -(2 ** 31),
  2 ** 32,
  3e9,
  1e-40,
  -1e-45,
  5e-324,
  3.4e38,
  -1e300,
  Infinity,
  -Infinity,
  NaN,
];
const edges = {
  f32: floats.map(Math.fround),
  f64: floats,
  i32: [0, 1, -1, 2, -2, 3, -3, 7, -7, 31, 32, 33, -32, 100, 2 ** 31 - 1, -(2 ** 31), 12345678, -87654321],
  u32: [0, 1, 2, 3, 7, 31, 32, 33, 100, 255, 256, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 12345678, 4000000000, 5, 6],
  bool: [0, 1],
  u8: [0, 1, 2, 7, 100, 127, 128, 255],
  i8: [0, 1, -1, 2, -7, 100, 127, -128],
  u16: [0, 1, 2, 255, 256, 32767, 32768, 65535],
  i16: [0, 1, -1, 127, -128, 255, 32767, -32768],
  i64: [0, 1, -1, 255, 256, 2 ** 31, -(2 ** 31) - 1, 2 ** 40 + 7, -(2 ** 52), 2 ** 53],
  f16: [0, -0, 1, -1, 0.5, 65504, -65504, 6e-8, 2 ** -24, 2 ** -14, Infinity, -Infinity, NaN, 1.5, 1000.5, -3.75],
  bf16: [0, -0, 1, -1, 0.5, 3.38e38, -3.38e38, 1e-40, 2 ** -126, Infinity, -Infinity, NaN, 1.5, 300, 2 ** 31, -3.75],
} as const satisfies Partial<Record<DType, readonly number[]>>;
type Plain = keyof typeof edges;
const full = ["f32", "f64", "i32", "u32", "bool"] as const;

const arity = {
  neg: 1,
  abs: 1,
  sign: 1,
  sqrt: 1,
  rsqrt: 1,
  exp: 1,
  log: 1,
  sin: 1,
  cos: 1,
  tanh: 1,
  erf: 1,
  floor: 1,
  round: 1,
  not: 1,
  add: 2,
  sub: 2,
  mul: 2,
  div: 2,
  idiv: 2,
  mod: 2,
  pow: 2,
  max: 2,
  min: 2,
  lt: 2,
  eq: 2,
  and: 2,
  or: 2,
  xor: 2,
  shl: 2,
  shr: 2,
} as const;

/** The operands, each with each, repeated to a multiple of 16. */
function operands(dtype: Plain, count: number): number[][] {
  const values = edges[dtype];
  const columns =
    count === 1 ? [[...values]] : [values.flatMap((a) => values.map(() => a)), values.flatMap(() => [...values])];
  const length = Math.ceil((columns[0] as number[]).length / 16) * 16;
  return columns.map((c) => Array.from({ length }, (_, i) => c[i % c.length] as number));
}

const widths = { f32: [1, 2, 4, 8], f64: [1, 2, 4], i32: [1, 2, 4, 16], u32: [1, 4], bool: [1, 2, 4, 16] } as const;

for (const op of Object.keys(arity) as (keyof typeof arity)[]) {
  test(`${op} has the op table's meaning on every dtype, one value or many at a time`, async () => {
    for (const dtype of full) {
      const columns = operands(dtype, arity[op]);
      const count = (columns[0] as number[]).length;
      const node = (...x: Node[]) => build.build(op, x, {}) as Node;
      let result: DType;
      try {
        result = dtypeOf(
          pointwise(
            columns.map(() => dtype),
            op === "lt" || op === "eq" ? "bool" : dtype,
            count,
            1,
            node,
          ).results[0]?.src[0]?.src[0]?.src[2] as Node,
        );
      } catch (error) {
        assert.match(String(error), /DTypeError/);
        continue;
      }
      const entry = define(op as Op);
      assert.equal(entry.role, "elementwise");
      for (const width of widths[dtype]) {
        const [got] = await run(
          device,
          pointwise(
            columns.map(() => dtype),
            result,
            count,
            width,
            node,
          ),
          columns,
        );
        for (let i = 0; i < count; i++) {
          const x = columns.map((c) => c[i] as number);
          const want = roundTo(result, entry.scalar(x, dtype, result));
          const what = `${op} ${dtype} of [${x.join(", ")}], width ${width}: ${got?.[i]} instead of ${want}`;
          // 1/sqrt(x) is rounded twice.
          if (op === "rsqrt" && Number.isFinite(want))
            assert.ok(
              Math.abs((got?.[i] as number) - want) <= Math.abs(want) * (dtype === "f32" ? 2 ** -23 : 2 ** -52),
              what,
            );
          else assert.ok(Object.is(got?.[i], want), what);
        }
      }
    }
  });
}

const small = [0n, 1n, -1n, 5n, 2n, -3n, 7n, 31n, 32n, 63n, 64n, -64n, 2n ** 31n, 0x123456789abcdefn];
const wide = small.concat(2n ** 53n + 1n, -(2n ** 53n) - 1n, 2n ** 62n, 2n ** 63n - 1n, -(2n ** 63n), 1n - 2n ** 63n);

for (const op of Object.keys(whole) as (keyof typeof whole)[]) {
  test(`${op} of i64 is exact and wraps`, async () => {
    const a = wide.flatMap((x) => wide.map(() => x));
    const b = wide.flatMap(() => wide);
    const columns = whole[op].length === 1 ? [wide] : [a, b];
    const { length } = columns[0] as bigint[];
    const result = op === "lt" || op === "eq" ? "bool" : "i64";
    const node = (...x: Node[]) => build.build(op, x, {}) as Node;
    const bytes = columns.map((c) => new Uint8Array(BigInt64Array.from(c).buffer));
    for (const width of [1, 2]) {
      const kernel = pointwise(
        columns.map(() => "i64"),
        result,
        length,
        width,
        node,
      );
      const [got] = (await runBytes(device, kernel, bytes)) as [Uint8Array];
      const values = result === "bool" ? got : new BigInt64Array(got.slice().buffer);
      for (let i = 0; i < length; i++) {
        const [x, y = 0n] = columns.map((c) => c[i] as bigint) as [bigint, bigint?];
        assert.equal(BigInt(values[i] as number), BigInt.asIntN(64, whole[op](x, y)), `${op} of [${x}, ${y}]`);
      }
    }
  });
}

test("casts between all dtypes have the op table's meaning", async () => {
  const all = Object.keys(edges) as Plain[];
  const entry = define("cast");
  assert.equal(entry.role, "elementwise");
  for (const from of all) {
    for (const to of all) {
      const [values] = operands(from, 1) as [number[]];
      const kept = values.map((x) => roundTo(from, x));
      for (const width of [1, 2, 4, 8]) {
        const [got] = await run(
          device,
          pointwise([from], to, values.length, width, (x) => build.cast(x, to)),
          [kept],
        );
        kept.forEach((x, i) => {
          let want = roundTo(to, from === to ? x : entry.scalar([x], from, to));
          if (to === "i64") want = Math.min(Math.max(want, -(2 ** 63)), 2 ** 63);
          if (from === "i64" && dtypes[to].kind === "int") want = Number(BigInt.asIntN(dtypes[to].bits, BigInt(x)));
          if (from === "i64" && dtypes[to].kind === "uint") want = Number(BigInt.asUintN(dtypes[to].bits, BigInt(x)));
          assert.ok(
            Object.is(got?.[i], want) || (want === 0 && got?.[i] === 0 && !isFloat(to)),
            `${from} ${x} to ${to}, width ${width}: ${got?.[i]} instead of ${want}`,
          );
        });
      }
    }
  }
});

const wordsOf = (bytes: Uint8Array): Uint16Array => new Uint16Array(bytes.slice().buffer);

for (const dtype of ["f16", "bf16"] as const) {
  test(`each of the 65 536 ${dtype} values becomes its f32 and comes back, NaN as NaN`, async () => {
    const bits = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const raw = new Uint8Array(bits.buffer);
    const toFloat = dtype === "f16" ? toF16 : toBf16;
    for (const width of [1, 4]) {
      const [floats] = await run(
        device,
        pointwise([dtype], "f32", 65536, width, (x) => build.cast(x, "f32")),
        [raw],
      );
      const [doubles] = await run(
        device,
        pointwise([dtype], "f64", 65536, width, (x) => build.cast(x, "f64")),
        [raw],
      );
      const [back] = await runBytes(
        device,
        pointwise([dtype], dtype, 65536, width, (x) => build.cast(build.cast(x, "f32"), dtype)),
        [raw],
      );
      const [copied] = await runBytes(
        device,
        pointwise([dtype], dtype, 65536, width, (x) => x),
        [raw],
      );
      assert.deepEqual(wordsOf(copied as Uint8Array), bits);
      wordsOf(back as Uint8Array).forEach((b, i) => {
        const x = floats?.[i] as number;
        assert.ok(Object.is(x, doubles?.[i]));
        if (Number.isNaN(x)) assert.equal(b, dtype === "f16" ? 0x7e00 : 0x7fc0);
        else {
          assert.equal(b, i);
          assert.equal(toFloat(x), i);
        }
      });
    }
  });

  test(`${dtype} is rounded once to nearest even, from f32, f64 and i32`, async () => {
    const round = dtype === "f16" ? toF16 : toBf16;
    const patterns = Array.from({ length: 65536 }, (_, i) => i);
    // Every value, the middle to the next one, and the doubles beside that middle.
    const step = dtype === "f16" ? (i: number) => i << 13 : (i: number) => i << 16;
    const scratch = new DataView(new ArrayBuffer(8));
    const float = (b: number) => (scratch.setUint32(0, b), scratch.getFloat32(0));
    const scale = dtype === "f16" ? 2 ** 112 : 1;
    const middles = patterns
      .slice(0, dtype === "f16" ? 0x7c00 : 0x7f80)
      .map((i) => (dtype === "f16" ? float(step(i) + (1 << 12)) * scale : float(step(i) + (1 << 15))));
    const next = (x: number, by: bigint) => (
      scratch.setFloat64(0, x), scratch.setBigUint64(0, scratch.getBigUint64(0) + by), scratch.getFloat64(0)
    );
    const doubles = middles.flatMap((x) => [x, next(x, 1n), next(x, -1n), -x]);
    for (const [from, values] of [
      ["f32", doubles.map(Math.fround)],
      ["f64", doubles],
      ["i32", doubles.map((_, i) => Math.imul(i, 0x9e3779b1) >> (i % 24))],
    ] as const) {
      const padded = [...values, ...new Array<number>((16 - (values.length % 16)) % 16).fill(0)];
      for (const width of [1, 4]) {
        const [got] = await runBytes(
          device,
          pointwise([from], dtype, padded.length, width, (x) => build.cast(x, dtype)),
          [padded],
        );
        const words = wordsOf(got as Uint8Array);
        if (from === "f32") {
          const there = (x: Node): Node => build.cast(build.cast(x, dtype), "f32");
          const [back] = await run(device, pointwise([from], "f32", padded.length, width, there), [padded]);
          const decoded = dtype === "f16" ? fromF16 : fromBf16;
          padded.forEach((x, i) => {
            if (!Object.is(back?.[i], decoded(round(x)))) assert.fail(`${x} there and back by ${dtype}: ${back?.[i]}`);
          });
        }
        padded.forEach((x, i) => {
          if (words[i] !== round(x))
            assert.fail(
              `${from} ${x} to ${dtype}, width ${width}: ${words[i]?.toString(16)} instead of ${round(x).toString(16)}`,
            );
        });
      }
    }
  });
}

test("where chooses in every dtype, by lanes and by one condition", async () => {
  for (const dtype of Object.keys(edges) as Plain[]) {
    if (carrierOf(dtype) !== dtype) continue;
    const [a, b] = operands(dtype, 2) as [number[], number[]];
    const conditions = a.map((_, i) => (i % 3) % 2);
    for (const width of [1, 2, 4, 8]) {
      const [got] = await run(
        device,
        pointwise(["bool", dtype, dtype], dtype, a.length, width, (c, x, y) => build.where(c, x, y)),
        [conditions, a, b],
      );
      a.forEach((x, i) => assert.ok(Object.is(got?.[i], conditions[i] ? x : b[i]), `${dtype}, width ${width}, ${i}`));
    }
  }
});

test("bitcast keeps the bits", async () => {
  const pairs = [
    ["f32", "i32"],
    ["i32", "f32"],
    ["u32", "f32"],
    ["f32", "u32"],
    ["i32", "u32"],
    ["f64", "i64"],
    ["i64", "f64"],
    ["f16", "bf16"],
    ["i16", "f16"],
    ["bf16", "i16"],
    ["u16", "i16"],
    ["i8", "u8"],
  ] as const;
  const raw = Uint8Array.from({ length: 256 }, (_, i) => (i * 37) & 0x7e);
  for (const [from, to] of pairs) {
    for (const width of [1, 2, 4]) {
      const count = 256 / dtypes[from].bytes;
      const [got] = await runBytes(
        device,
        pointwise([from], to, count, width, (x) => build.bitcast(x, to)),
        [raw],
      );
      assert.deepEqual(got, raw);
    }
  }
});
