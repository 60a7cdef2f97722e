import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { arbitrarySample, assertSameValues } from "../../../tests/arbitrary/graphs.ts";
import { type Loaded, loadCases, type OpCase } from "../../../tests/fixtures/load.ts";
import { ArgumentError, ShapeError, VerifyError } from "../errors.ts";
import { type DType, isDType, isFloat, roundTo } from "../ir/dtype.ts";
import { makeFn } from "../ir/fn.ts";
import { dimsOf, dtypeOf, type Node } from "../ir/node.ts";
import { parse } from "../ir/parse.ts";
import { within } from "../ir/scope.ts";
import { tensorType } from "../ir/type.ts";
import * as b from "../ops/build.ts";
import { newScope } from "../ops/table.ts";
import { elementwise, general } from "./elementwise.ts";
import { evaluate } from "./evaluate.ts";
import { randomBits, threefry } from "./random.ts";
import { decode, encode, type Value, valueOf } from "./value.ts";

const numbers = (v: unknown): number[] => v as number[];
const wrap = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);

/** Alignment of shapes from the right, as PyTorch does it before an element-wise op. */
function broadcast(...nodes: Node[]): Node[] {
  const rank = Math.max(...nodes.map((n) => dimsOf(n).length));
  const shapes = nodes.map((n) => [...Array.from({ length: rank - dimsOf(n).length }, () => 1), ...numbers(dimsOf(n))]);
  const dims = Array.from({ length: rank }, (_, a) => shapes.map((s) => s[a] as number).find((d) => d !== 1) ?? 1);
  return nodes.map((n, k) => b.expand(b.reshape(n, shapes[k] as number[]), dims));
}

const unary =
  (op: (x: Node) => Node) =>
  ([x]: Node[]) =>
    op(x as Node);
const binary = (op: (x: Node, y: Node) => Node) => (src: Node[]) => op(...(broadcast(...src) as [Node, Node]));
const reduction =
  (kind: "sum" | "prod" | "max" | "min") =>
  ([x]: Node[], { attr }: OpCase) => {
    const rank = dimsOf(x as Node).length;
    const axes = attr["axes"] ? numbers(attr["axes"]).map((a) => wrap(a, rank)) : dimsOf(x as Node).map((_, a) => a);
    return attr["keepDim"] ? b.reduceKeep(kind, x as Node, axes) : b.reduce(kind, x as Node, axes);
  };

/** PyTorch's ops that are one of ours, but for broadcasting and the spelling of attributes. */
const programs: Readonly<Record<string, (src: Node[], c: OpCase) => Node>> = {
  neg: unary(b.neg),
  abs: unary(b.abs),
  sign: unary(b.sign),
  sqrt: unary(b.sqrt),
  rsqrt: unary(b.rsqrt),
  exp: unary(b.exp),
  log: unary(b.log),
  sin: unary(b.sin),
  cos: unary(b.cos),
  tanh: unary(b.tanh),
  erf: unary(b.erf),
  floor: unary(b.floor),
  round: unary(b.round),
  logical_not: unary(b.not),
  add: binary(b.add),
  sub: binary(b.sub),
  mul: binary(b.mul),
  div: binary(b.div),
  pow: binary(b.pow),
  maximum: binary(b.max),
  minimum: binary(b.min),
  floor_divide: binary(b.idiv),
  remainder: binary(b.mod),
  eq: binary(b.eq),
  lt: binary(b.lt),
  logical_and: binary(b.and),
  logical_or: binary(b.or),
  logical_xor: binary(b.xor),
  where: (src) => b.where(...(broadcast(...src) as [Node, Node, Node])),
  cast: ([x], { attr }) => b.cast(x as Node, attr["dtype"] as DType),
  reshape: ([x], { output }) => b.reshape(x as Node, output.shape),
  permute: ([x], { attr }) =>
    b.permute(
      x as Node,
      numbers(attr["axes"]).map((a) => wrap(a, dimsOf(x as Node).length)),
    ),
  expand: ([x], { output }) => {
    const dims = dimsOf(x as Node);
    return b.expand(b.reshape(x as Node, [...output.shape.slice(dims.length).map(() => 1), ...dims]), output.shape);
  },
  pad: ([x], { attr }) => {
    const pads = attr["pads"] as unknown as [number, number][];
    return b.pad(
      x as Node,
      pads.map(([l]) => l),
      pads.map(([, h]) => h),
      attr["value"] as number,
    );
  },
  slice: ([x], { attr, output }) => b.slice(x as Node, numbers(attr["starts"]), output.shape, numbers(attr["steps"])),
  flip: ([x], { attr }) =>
    b.flip(
      x as Node,
      numbers(attr["axes"]).map((a) => wrap(a, dimsOf(x as Node).length)),
    ),
  concat: (src, { attr, output }) => b.concat(src, wrap(attr["axis"] as number, output.shape.length)),
  sum: reduction("sum"),
  prod: reduction("prod"),
  amax: reduction("max"),
  amin: reduction("min"),
  any: reduction("max"),
  all: reduction("min"),
  tensordot: ([x, y], { attr }) =>
    b.dot(x as Node, y as Node, { contract: attr["axes"] as unknown as [number[], number[]], batch: [[], []] }),
  matmul: ([x, y]) => {
    const [l, r] = [x as Node, y as Node];
    const batch = dimsOf(l)
      .slice(2)
      .map((_, a) => a);
    return b.dot(l, r, {
      contract: [[dimsOf(l).length - 1], [Math.max(dimsOf(r).length - 2, 0)]],
      batch: [batch, batch],
    });
  },
  index_select: ([x, i], { attr }) =>
    b.gather(x as Node, i as Node, wrap(attr["axis"] as number, dimsOf(x as Node).length)),
  embedding: ([x, i]) => b.gather(x as Node, i as Node, 0),
};

/** The case in the given float dtype; its inputs are upcast or rounded to it, but those of `cast`. */
function run(c: Loaded<OpCase>, float: DType): Value {
  const program = programs[c.op] as (src: Node[], c: OpCase) => Node;
  const fn = within(newScope(), () => {
    const params = c.inputs.map(({ dtype, shape }, index) =>
      b.build("param", [], { index, name: `input${index}`, type: tensorType(dtype as DType, shape) }),
    );
    const src = params.map((p, i) => {
      let x: Node = c.op !== "cast" && isFloat(dtypeOf(p)) ? b.cast(p, float) : p;
      for (const view of c.inputs[i]?.views ?? []) {
        if (view.op === "permute") x = b.permute(x, view.axes);
        else if (view.op === "expand")
          x = b.expand(b.reshape(x, [...view.shape.slice(dimsOf(x).length).map(() => 1), ...dimsOf(x)]), view.shape);
        else
          x = b.slice(
            x,
            view.starts,
            view.starts.map((s, a) => Math.ceil(((view.stops[a] as number) - s) / (view.steps[a] as number))),
            view.steps,
          );
      }
      return x;
    });
    return makeFn(c.op, params, [program(src, c)]);
  });
  const args = c.inputs.map(({ dtype, shape }, i) => decode(dtype as DType, c.tensor(`input${i}`).data, shape));
  return evaluate(fn, args)[0] as Value;
}

const close = (got: number, want: number, tolerance: number): boolean =>
  Object.is(got, want) || got === want || Math.abs(got - want) <= tolerance * Math.max(1, Math.abs(want));

/** Left out: products whose batch axes must be broadcast first, arithmetic on i64 and powers of integers, which the IR does
 *  not have, and the sign of NaN, which is NaN here as in NumPy and JAX, and 0 in PyTorch. */
function plain({ name, op, inputs }: OpCase): boolean {
  const [l, r] = inputs;
  if (op === "matmul") return !l?.views && !r?.views && l?.shape.slice(0, -2).join() === r?.shape.slice(0, -2).join();
  const arithmetic = ["add", "sub", "mul", "pow", "maximum", "minimum", "floor_divide", "remainder"].includes(op);
  if (arithmetic && inputs.some(({ dtype }) => dtype === "i64" || (op === "pow" && dtype === "i32"))) return false;
  return name !== "sign/special";
}

const cases = loadCases("ops").cases.filter(
  (c) => plain(c) && Object.hasOwn(programs, c.op) && c.inputs.every(({ dtype }) => isDType(dtype)),
);
for (const op of new Set(cases.map((c) => c.op))) {
  test(`${op} equals PyTorch`, () => {
    for (const c of cases.filter((c) => c.op === op)) {
      const { values: want } = c.tensor("output");
      const exact = run(c, "f64");
      assert.deepEqual([exact.dtype, exact.dims], [c.output.dtype, c.output.shape], c.name);
      assert.equal(exact.data.length, want.length);
      exact.data.forEach((x, i) =>
        assert.ok(close(Number(x), want[i] as number, 1e-13), `${c.name}[${i}]: ${x}, PyTorch ${want[i]}`),
      );
      if (!isFloat(exact.dtype) || op === "cast") continue;
      const rounded = run(c, "f32");
      const tolerance = Math.max(2e-6, 4 * (c.error32?.output ?? 0));
      rounded.data.forEach((x, i) => {
        assert.equal(Math.fround(Number(x)), Object.is(x, Number.NaN) ? Number.NaN : x);
        assert.ok(
          close(Number(x), want[i] as number, tolerance) || c.corner,
          `${c.name}[${i}] in f32: ${x}, PyTorch ${want[i]}`,
        );
      });
    }
  });
}

test("the fixtures cover most of the table", () =>
  assert.ok(new Set(cases.map((c) => c.op)).size >= 40, String(cases.length)));

for (const c of loadCases("random").cases.filter((c) => c.op === "block"))
  test(`threefry ${c.name} equals random123`, () => {
    const out = new Uint32Array(2);
    threefry(...c.key, ...(c.counter as [number, number]), out);
    assert.deepEqual([...out], c.result);
  });

for (const c of loadCases("random").cases.filter((c) => c.op === "bits" || c.op === "split"))
  test(`random ${c.name} equals JAX`, () => {
    const shape = c.output?.shape ?? [];
    const want = c.tensor("output").values;
    const words = c.op === "split" ? 2 : 1;
    assert.deepEqual(randomBits(c.key, 0, want.length / words, words), want);
    const fn = within(newScope(), () => {
      const key = b.build("param", [], { index: 0, name: "key", type: tensorType("u32", [2]) });
      return makeFn("r", [key], [b.random(key, b.scalar(0, "u32"), words === 2 ? shape.slice(0, -1) : shape, words)]);
    });
    assert.deepEqual(evaluate(fn, [valueOf("u32", [2], c.key)]), [{ dtype: "u32", dims: shape, data: want }]);
  });

test("a random element is a function of its number, past 2**32 too", () => {
  const all = randomBits([7, 9], 2 ** 32 - 3, 6, 1);
  for (let i = 0; i < 6; i++) assert.equal(randomBits([7, 9], 2 ** 32 - 3 + i, 1, 1)[0], all[i]);
  assert.notEqual(all[3], randomBits([7, 9], 0, 1, 1)[0]);
});

const doublesOf = fc.array(
  fc.oneof(fc.double(), fc.constantFrom(0, -0, 1, -1, 0.5, 2, Number.NaN, Infinity, -Infinity)),
  { minLength: 1, maxLength: 20 },
);
for (const op of [
  "neg",
  "abs",
  "sqrt",
  "rsqrt",
  "exp",
  "log",
  "tanh",
  "add",
  "sub",
  "mul",
  "div",
  "max",
  "min",
  "lt",
  "eq",
] as const)
  for (const dtype of ["f32", "f64"] as const)
    test(`the loop of ${op} in ${dtype} is the table's scalar`, () => {
      fc.assert(
        fc.property(doublesOf, doublesOf, (xs, ys) => {
          const n = Math.min(xs.length, ys.length);
          const src = [xs, ys]
            .slice(0, ["add", "sub", "mul", "div", "max", "min", "lt", "eq"].includes(op) ? 2 : 1)
            .map((a) => valueOf(dtype, [n], a.slice(0, n)));
          const result = op === "lt" || op === "eq" ? "bool" : dtype;
          const want = new Float64Array(n);
          general(
            op,
            src.map((s) => s.data as Float64Array),
            dtype,
            result,
            want,
          );
          const got = elementwise(op, src, result, false).data as Float64Array;
          got.forEach((x, i) =>
            assert.ok(Object.is(x, roundTo(result, want[i] as number)), `${op} of ${src.map((s) => s.data[i])}: ${x}`),
          );
        }),
        { numRuns: 50 },
      );
    });

const text = (line: string, ...params: string[]) =>
  parse(`fn @f(${params.map((p, i) => `%${i} "p${i}": ${p}`).join(", ")}) {\n%9 = ${line}\nreturn %9\n}`);

for (const [what, line, args, want] of [
  [
    "gather outside of floats gives NaN",
    "gather(%0, %1) {axis: 0} : f32[4]",
    [valueOf("f32", [3], [5, 6, 7]), valueOf("i32", [4], [2, -1, 3, 0])],
    [7, NaN, NaN, 5],
  ],
  [
    "gather outside of integers gives 0",
    "gather(%0, %1) {axis: 0} : i32[4]",
    [valueOf("i32", [3], [5, 6, 7]), valueOf("i32", [4], [2, -1, 3, 0])],
    [7, 0, 0, 5],
  ],
  [
    "gather outside of i64 gives 0",
    "gather(%0, %1) {axis: 0} : i64[2]",
    [valueOf("i64", [2], [5, -6]), valueOf("u32", [2], [1, 9])],
    [-6n, 0n],
  ],
  [
    "scatter adds, and drops what is outside",
    'scatter(%0, %1, %2) {axis: 0, mode: "add"} : f32[3]',
    [valueOf("f32", [3], [1, 2, 3]), valueOf("i32", [5], [0, 0, 7, -1, 2]), valueOf("f32", [5], [10, 20, 30, 40, 50])],
    [31, 2, 53],
  ],
  [
    "the last of colliding sets stays",
    'scatter(%0, %1, %2) {axis: 1, mode: "set"} : f32[2, 2]',
    [valueOf("f32", [2, 2], [1, 2, 3, 4]), valueOf("i32", [2], [1, 1]), valueOf("f32", [2, 2], [5, 6, 7, 8])],
    [1, 6, 3, 8],
  ],
  ["the sum of nothing is 0", 'reduce(%0) {axes: [1], kind: "sum"} : f32[2]', [valueOf("f32", [2, 0], [])], [0, 0]],
  [
    "the maximum of nothing is −∞",
    'reduce(%0) {axes: [0, 1], kind: "max"} : f32[]',
    [valueOf("f32", [2, 0], [])],
    [-Infinity],
  ],
  [
    "the least of no integers is the greatest",
    'reduce(%0) {axes: [0], kind: "min"} : i32[]',
    [valueOf("i32", [0], [])],
    [2 ** 31 - 1],
  ],
  [
    "integer products wrap",
    'reduce(%0) {axes: [0], kind: "prod"} : u32[]',
    [valueOf("u32", [3], [65537, 65537, 3])],
    [(65537 * 65537 * 3) % 2 ** 32],
  ],
  [
    "integer dots wrap",
    "dot(%0, %1) {batch: [[], []], contract: [[0], [0]]} : i32[]",
    [valueOf("i32", [2], [2 ** 31 - 1, 5]), valueOf("i32", [2], [2, 1])],
    [3],
  ],
  ["i64 is kept whole", 'cast(%0) {dtype: "i32"} : i32[2]', [valueOf("i64", [2], [2n ** 53n + 1n, -1n])], [1, -1]],
  [
    "i64 to f32 is rounded once",
    'cast(%0) {dtype: "f32"} : f32[1]',
    [valueOf("i64", [1], [2n ** 60n + 2n ** 36n + 1n])],
    [2 ** 60 + 2 ** 37],
  ],
  [
    "a float becomes the nearest i64 there is",
    'cast(%0) {dtype: "i64"} : i64[4]',
    [valueOf("f64", [4], [1e30, -1e30, NaN, -2.9])],
    [2n ** 63n - 1n, -(2n ** 63n), 0n, -2n],
  ],
  [
    "bitcast keeps the bits",
    'bitcast(%0) {dtype: "u32"} : u32[2]',
    [valueOf("f32", [2], [1, -0])],
    [0x3f800000, 0x80000000],
  ],
  ["sums in bf16 are rounded once", 'cast(%0) {dtype: "bf16"} : bf16[1]', [valueOf("f32", [1], [257])], [256]],
] satisfies [string, string, Value[], (number | bigint)[]][])
  test(what, () => {
    const fn = text(line, ...args.map(({ dtype, dims }) => `${dtype}[${dims.join(", ")}]`));
    assert.deepEqual([...(evaluate(fn, args)[0] as Value).data], want);
  });

test("exact leaves floats unrounded, and integers whole", () => {
  const fn = parse(`fn @f(%0 "x": f64[1]) {
  %1 = cast(%0) {dtype: "bf16"} : bf16[1]
  %2 = cast(%1) {dtype: "f32"} : f32[1]
  %3 = mul(%2, %2) : f32[1]
  %4 = cast(%3) {dtype: "i32"} : i32[1]
  return %3, %4
}`);
  const x = valueOf("f64", [1], [Math.PI]);
  assert.deepEqual(
    evaluate(fn, [x], { exact: true }).map((v) => v.data[0]),
    [Math.PI * Math.PI, 9],
  );
  assert.deepEqual(
    evaluate(fn, [x]).map((v) => v.data[0]),
    [3.140625 ** 2, 9],
  );
});

test("calls, tuples and several results", () => {
  const fn = parse(`fn @two(%0 "x": f32[2], %1 "y": f32[2]) {
  %2 = add(%0, %1) : f32[2]
  %3 = tuple(%2, %0) : (f32[2], f32[2])
  return %3, %1
}
fn @f(%0 "x": f32[2]) {
  %1 = neg(%0) : f32[2]
  %2 = call(%0, %1) {fn: @two} : ((f32[2], f32[2]), f32[2])
  %3 = item(%2) {index: 0} : (f32[2], f32[2])
  %4 = item(%3) {index: 1} : f32[2]
  %5 = item(%2) {index: 1} : f32[2]
  return %4, %5, %3
}`);
  const results = evaluate(fn, [valueOf("f32", [2], [1, 2])]).map((v) => [...v.data]);
  assert.deepEqual(results, [
    [1, 2],
    [-1, -2],
    [0, 0],
    [1, 2],
  ]);
});

test("symbolic dims take the sizes of the arguments, inside their bounds", () => {
  const fn = parse(`dims n 1..8 multiple 2
fn @f(%0 "x": f32[2*n, 3], %1 "y": f32[n]) {
  %2 = reshape(%0) {dims: [6*n]} : f32[6*n]
  %3 = expand(%2) {dims: [6*n]} : f32[6*n]
  return %3
}`);
  assert.deepEqual(
    evaluate(fn, [valueOf("f32", [8, 3], new Array(24).fill(1)), valueOf("f32", [4], [1, 2, 3, 4])])[0]?.dims,
    [24],
  );
  assert.throws(
    () => evaluate(fn, [valueOf("f32", [8, 3], new Array(24).fill(1)), valueOf("f32", [2], [1, 2])]),
    ShapeError,
  );
  assert.throws(
    () => evaluate(fn, [valueOf("f32", [6, 3], new Array(18).fill(1)), valueOf("f32", [3], [1, 2, 3])]),
    /multiple of 2/,
  );
});

test("wrong arguments are told", () => {
  const fn = text("neg(%0) : f32[2]", "f32[2]");
  assert.throws(() => evaluate(fn, []), ArgumentError);
  assert.throws(
    () => evaluate(fn, [valueOf("i32", [2], [1, 2])]),
    /argument 0 \(p0\) should be f32\[2\], got i32\[2\]/,
  );
  const kernel = parse('fn @k() {\n%0 = range() {extent: 3, id: 0, kind: "loop"} : i32[]\nreturn %0\n}');
  assert.throws(() => evaluate(kernel, []), VerifyError);
});

test("a chain of 10 000 nodes", () => {
  const fn = parse(
    `fn @f(%0 "x": f32[]) {\n${Array.from({ length: 10_000 }, (_, i) => `%${i + 1} = neg(%${i}) : f32[]`).join("\n")}\nreturn %10000\n}`,
  );
  assert.equal(evaluate(fn, [valueOf("f32", [], [3])])[0]?.data[0], 3);
});

test("random graphs: every result has its dtype's values and its type's dims", () => {
  fc.assert(
    fc.property(
      arbitrarySample({ dtypes: ["f32", "i32", "u32", "bool", "f16", "bf16", "i64", "u8"], maxNodes: 20 }),
      ({ fn, args }) => {
        const results = evaluate(fn, args);
        fn.results.forEach((r, i) => {
          const v = results[i] as Value;
          assert.deepEqual([v.dtype, v.dims], [dtypeOf(r), dimsOf(r)]);
          assertSameValues([decode(v.dtype, encode(v), v.dims)], [v], () => r.op);
        });
      },
    ),
    { numRuns: 300 },
  );
});

test("q4_0 and q8_0 bytes are dequantised", () => {
  const q8 = new Uint8Array(34);
  new DataView(q8.buffer).setUint16(0, 0x3800, true); // 0.5
  q8.set([1, 255, 127, 128], 2);
  assert.deepEqual(decode("q8_0", q8, [32]).data.slice(0, 5), Float64Array.of(0.5, -0.5, 63.5, -64, 0));
  const q4 = new Uint8Array(18);
  new DataView(q4.buffer).setUint16(0, 0x4000, true); // 2
  q4.set([0x9f], 2);
  const { data } = decode("q4_0", q4, [32]);
  assert.deepEqual([data[0], data[16], data[1]], [14, 2, -16]);
});
