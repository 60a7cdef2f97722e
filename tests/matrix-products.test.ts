/** Products of bf16, and of bytes, by matrix registers (AMX), which are emulated here by the arithmetic that Intel documents: values beside
 *  PyTorch's, every layout, size and kind of what is fused into them, the sanitizers, any number of threads. What a compiler makes of the text
 *  for a processor that has them is looked at; it does not run here. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { arch, tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { device, jit, key, matmul, random, type Tensor } from "../core/src/index.ts";
import { compile } from "../core/src/compiler/compile.ts";
import { evaluate } from "../core/src/interpreter/evaluate.ts";
import { decode, encode, type Value, valueOf } from "../core/src/interpreter/value.ts";
import { byteSize, type DType } from "../core/src/ir/dtype.ts";
import type { Fn } from "../core/src/ir/fn.ts";
import { dimsOf, dtypeOf, type Node } from "../core/src/ir/node.ts";
import { print } from "../core/src/ir/print.ts";
import { group, hardware, sample } from "../core/src/kernel/kernel.fixture.ts";
import { wideTiles } from "../core/src/kernel/products/wide-tile.ts";
import { add, cast, constantLike, dot, max } from "../core/src/ops/build.ts";
import type { HardwareModel } from "../core/src/runtime/hardware.ts";
import { register } from "../core/src/runtime/registry.ts";
import { callOf } from "../core/src/tensor/jit.ts";
import { cFlags } from "../south/cpu/src/native/render/c.ts";
import type { Library } from "../south/cpu/src/native/ffi.ts";
import { nativeHardware } from "../south/cpu/src/native/toolchain/hardware.ts";
import { refusalOf, trialText, withTrial } from "../south/cpu/src/native/toolchain/matrix-trial.ts";
import {
  compiler,
  functionsOf,
  keepKernels,
  noSanitizers,
  runPlans,
  sanitized,
  unitText,
  type Way,
} from "./c-plans.ts";
import { assertSameValues } from "./arbitrary/graphs.ts";
import { loadCases } from "./fixtures/load.ts";

const macros = ["__AMX_TILE__", "__AMX_BF16__", "__AMX_INT8__"];
const emulated = [...macros, "SINAN_EMULATED_TILES"].map((macro) => `-D${macro}`);
const isX86 = arch() === "x64";
// Of this process alone: before a device is opened.
if (isX86 && compiler !== undefined) process.env["SINAN_CC"] = [compiler, "-march=native", ...emulated].join(" ");
const { noNative } = await import("./devices.ts");

register({ codegen: keepKernels });
wideTiles();

const features = ["amx-tile", "amx-bf16", "amx-int8"];
const model: HardwareModel = {
  ...hardware,
  id: "matrix",
  codegens: [keepKernels.name],
  compute: hardware.compute.map((u) => ({ ...u, lanes: 4 * u.lanes })),
  features: ["fma", ...features],
  limits: { ...hardware.limits, vectorRegisters: 32 },
};
/** Few optimizations: compilers take longer than all else here. */
const quick: Way = { compile: [compiler ?? "cc", ...(isX86 ? ["-march=native"] : []), "-O1"] };
const noCompiler = compiler === undefined && "there is no C compiler";

interface Case {
  readonly fn: Fn;
  readonly args: readonly Value[];
}

function run(cases: readonly Case[], way: Way = quick): Value[][] {
  const planned = cases.map(({ fn, args }) => ({
    plan: compile(fn, model),
    lanes: 16,
    features,
    inputs: args.map((v) => encode(v)),
    outputBytes: fn.results.map((y) =>
      byteSize(
        dtypeOf(y),
        (dimsOf(y) as number[]).reduce((n, d) => n * d, 1),
      ),
    ),
  }));
  return runPlans(planned, true, way).map((outputs, i) =>
    outputs.map((bytes, j) => {
      const result = cases[i]?.fn.results[j] as Node;
      return decode(dtypeOf(result), bytes, dimsOf(result) as number[]);
    }),
  );
}

const numbersOf = (v: Value | undefined): number[] => Array.from((v as Value).data, Number);

/** Transposed, as dots take them. */
const layouts = [0, 1, 2, 3] as const;
interface Shape {
  readonly of: readonly [DType, DType];
  readonly size: readonly [m: number, n: number, k: number];
  readonly layout: (typeof layouts)[number];
  readonly batch?: number;
}

const product = ({ of, size: [m, n, k], layout, batch }: Shape, fused: (y: Node) => Node = (y) => y): Fn => {
  const before = batch === undefined ? [] : [batch];
  const [x, y] = [layout & 2 ? [k, m] : [m, k], layout & 1 ? [n, k] : [k, n]] as const;
  const to = of[0] === "bf16" ? "f32" : "i32";
  const at = before.length;
  const batches = before.map((_, axis) => axis);
  return group(
    [
      [of[0], [...before, ...x]],
      [of[1], [...before, ...y]],
    ],
    (a, b) =>
      fused(
        dot(cast(a, to), cast(b, to), {
          contract: [[at + (layout & 2 ? 0 : 1)], [at + (layout & 1 ? 1 : 0)]],
          batch: [batches, batches],
        }),
      ),
  );
};

const across = (of: readonly number[], rows: number): number[] => {
  const columns = of.length / rows;
  return of.map((_, i) => of[(i % rows) * columns + Math.floor(i / rows)] as number);
};

const goesByTiles = (fn: Fn): boolean => functionsOf(compile(fn, model), 16, features).includes("&tiles");

const { cases: fixtures } = loadCases("matrix");

test("values are PyTorch's: bf16 within the bound, and by the documented arithmetic to the bit; bytes exactly", {
  skip: noCompiler,
}, () => {
  assert.equal(fixtures.length, 6);
  // Some layouts of bf16, and each pair of signs in one.
  const all = fixtures.flatMap(({ dtypes: of, tensor, name }, number) => {
    const [x, y] = [tensor("x"), tensor("y")];
    const [m, k, n] = [...x.shape, ...y.shape] as [number, number, number];
    const wanted = [...tensor(of[0] === "bf16" ? "tiles" : "exact").values];
    return layouts
      .filter((layout) => (name === "near-1" && layout < 2) || number % 4 === layout)
      .map((layout) => {
        const fn = product({ of, size: [m, n, k], layout });
        const [left, right] = [[...x.values], [...y.values]];
        const laid = [layout & 2 ? across(left, m) : left, layout & 1 ? right : across(right, n)];
        const args = fn.params.map((p, i) => valueOf(dtypeOf(p), dimsOf(p) as number[], laid[i] as number[]));
        return { name: `${name}, layout ${layout}`, wanted, fn, args };
      });
  });
  for (const { fn, name } of all) assert.ok(goesByTiles(fn), name);
  for (const [i, [got]] of run(all).entries()) assert.deepEqual(numbersOf(got), all[i]?.wanted, all[i]?.name ?? "");
  // That arithmetic is what a product is, and not the sum in order.
  const { tensor } = fixtures[0] as (typeof fixtures)[number];
  const [x, y] = [tensor("x"), tensor("y")];
  const k = x.shape[1] as number;
  const inOrder = tensor("exact").values.map((exact, at) => {
    const [i, j] = [Math.floor(at / (y.shape[0] as number)), at % (y.shape[0] as number)];
    let [sum, size] = [0, 0];
    for (let t = 0; t < k; t++) {
      const term = (x.values[i * k + t] as number) * (y.values[j * k + t] as number);
      sum = Math.fround(sum + term);
      size += Math.abs(term);
    }
    assert.ok(Math.abs((tensor("tiles").values[at] as number) - exact) <= k * 2 ** -24 * size);
    return sum;
  });
  assert.notDeepEqual([...inOrder], [...tensor("tiles").values]);
});

const bf16: Shape["of"] = ["bf16", "bf16"];
const whole: readonly Shape[] = [
  ...layouts.flatMap((layout): Shape[] => [
    { of: bf16, size: layout === 0 ? [32, 64, 128] : [97, 67, 101], layout },
    { of: layout & 1 ? ["u8", "i8"] : ["i8", "i8"], size: layout & 2 ? [61, 71, 131] : [17, 127, 97], layout },
  ]),
  { of: bf16, size: [33, 49, 94], layout: 0, batch: 3 },
  { of: bf16, size: [48, 33, 130], layout: 1, batch: 2 },
  { of: ["i8", "u8"], size: [34, 31, 132], layout: 3, batch: 2 },
];
const small: readonly Shape[] = [
  { of: bf16, size: [1, 512, 512], layout: 1 },
  { of: bf16, size: [37, 43, 34], layout: 0 },
  { of: bf16, size: [0, 64, 64], layout: 0 },
  { of: bf16, size: [64, 0, 64], layout: 1 },
  { of: bf16, size: [64, 64, 0], layout: 1 },
  { of: ["u8", "i8"], size: [9, 300, 300], layout: 1 },
];
/** Small whole numbers: sums of their products are exact in every order. */
const filled = (fn: Fn): Case => ({ fn, args: fn.params.map((p, i) => sample(dtypeOf(p), dimsOf(p) as number[], i)) });
/** What is done with the results, in one kernel with them. */
const epilogue = (y: Node): Node => {
  const isReal = dtypeOf(y) === "f32";
  const shifted = max(add(y, constantLike(y, -3)), constantLike(y, isReal ? -0.5 : -2));
  return cast(shifted, isReal ? "bf16" : "f32");
};
const wholes: readonly Case[] = [
  ...[...whole, ...small].map((shape) => product(shape)),
  ...whole.filter((_, i) => i % 5 === 1).map((shape) => product(shape, epilogue)),
].map(filled);

test("every layout, size and batch, and what is fused into it, gives the interpreter's whole numbers", {
  skip: noCompiler,
}, () => {
  for (const shape of whole) assert.ok(goesByTiles(product(shape)), JSON.stringify(shape));
  for (const shape of small) assert.ok(!goesByTiles(product(shape)), JSON.stringify(shape));
  for (const [i, got] of run(wholes).entries()) {
    const { fn, args } = wholes[i] as Case;
    assertSameValues(got, evaluate(fn, args), () => print(fn));
  }
});

test("nothing out of bounds is touched", { skip: noSanitizers() }, () => {
  const some = wholes.filter((_, i) => [2, 7, 10, 19].includes(i));
  for (const [i, got] of run(some, sanitized()).entries()) {
    const { fn, args } = some[i] as Case;
    assertSameValues(got, evaluate(fn, args), () => print(fn));
  }
});

test("NaN and infinities are what they are anywhere; denormals are zeros", { skip: noCompiler }, () => {
  const [m, n, k] = [20, 48, 160];
  const odd: readonly (readonly [readonly number[], readonly number[], number])[] = [
    [[NaN, 1], [1, 1], NaN],
    [[Infinity, 1], [-2, 1], -Infinity],
    [[Infinity, 1], [0, 1], NaN],
    [[Infinity, Infinity], [1, -1], NaN],
    [[2 ** -130, 2 ** -126], [2 ** 100, 2 ** 20], 2 ** -106],
    [[2 ** -70, 2 ** -60], [2 ** -70, 2 ** -60], 2 ** -120],
  ];
  const fn = product({ of: bf16, size: [m, n, k], layout: 1 });
  const all = odd.flatMap(([a, b]) =>
    [0, 1, 31, 130].map((place) => {
      const filledWith = (values: readonly number[], rows: number): Value =>
        valueOf(
          "bf16",
          [rows, k],
          Array.from({ length: rows * k }, (_, i) => values[(i % k) - place] ?? 0),
        );
      return { fn, args: [filledWith(a, m), filledWith(b, n)] };
    }),
  );
  for (const [i, [got]] of run(all).entries())
    assert.deepEqual(new Set(numbersOf(got)), new Set([(odd[Math.floor(i / 4)] as (typeof odd)[number])[2]]), `${i}`);
});

/** Runs a command in a folder of its own. */
function within<T>(use: (folder: string) => T): T {
  const folder = mkdtempSync(path.join(tmpdir(), "sinan-matrix-"));
  try {
    return use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const starts = (name: string): boolean => spawnSync(name, ["--version"], { stdio: "ignore" }).status === 0;
const knows = (name: string): boolean =>
  isX86 && starts(name) && spawnSync(name, ["-march=sapphirerapids", "-E", "-x", "c", "-"], { input: "" }).status === 0;

for (const name of ["gcc", "clang"])
  test(`${name} makes the instructions of it, and no emulation`, {
    skip: !knows(name) && `there is no ${name} that knows them`,
  }, () => {
    const kinds: readonly Shape["of"][] = [bf16, ["i8", "i8"], ["i8", "u8"], ["u8", "i8"], ["u8", "u8"]];
    const plans = kinds.map((of) => compile(product({ of, size: [45, 83, 134], layout: 1 }), model));
    const assembly = within((folder) => {
      writeFileSync(path.join(folder, "a.c"), unitText(plans, 16, features));
      const built = spawnSync(name, ["-march=sapphirerapids", "-O1", ...cFlags, "-S", "-o", "a.s", "a.c"], {
        cwd: folder,
        encoding: "utf8",
      });
      assert.equal(built.status, 0, built.stderr);
      return readFileSync(path.join(folder, "a.s"), "utf8");
    });
    for (const instruction of ["tdpbf16ps", "tdpbssd", "tdpbsud", "tdpbusd", "tdpbuud"])
      assert.match(assembly, new RegExp(`${instruction}\\s+%tmm6, %tmm4, %tmm0`));
    for (const instruction of ["ldtilecfg", "tilezero", "tileloadd", "tilestored", "tilerelease"])
      assert.match(assembly, new RegExp(`\\b${instruction}\\b`));
    assert.doesNotMatch(assembly, /TILE_DOTS|\bud2\b|fmaf/);
  });

/** What the trial says, built with these options and text. */
function tried(options: readonly string[], text: string): number {
  return within((folder) => {
    const main = `${text}\n#include <stdio.h>\nint main(void) { printf("%d", (int)sinan_tiles_tried()); return 0; }`;
    writeFileSync(path.join(folder, "a.c"), main);
    const command = [...options, "-O1", "-w", ...cFlags, "-o", "a.out", "a.c", "-lm"];
    const built = spawnSync(compiler as string, command, { cwd: folder, encoding: "utf8" });
    assert.equal(built.status, 0, built.stderr);
    return Number(spawnSync(path.join(folder, "a.out"), { encoding: "utf8" }).stdout);
  });
}

test("the trial tells right registers from wrong ones and from none", {
  skip: noCompiler || (!knows("gcc") && "no gcc knows them"),
}, () => {
  assert.equal(tried(emulated, trialText), 0);
  const wrongs = [
    ["sums[2 * j] + sums[2 * j + 1]", "sums[2 * j]"],
    ["t->data[b][k][4 * j + q]", "t->data[b][k][4 * j]"],
  ] as const;
  for (const [right, wrong] of wrongs) {
    assert.ok(trialText.includes(right), right);
    assert.equal(tried(emulated, trialText.replace(right, wrong)), 1, right);
  }
  // A configuration that the processor would refuse ends the child.
  assert.equal(tried(emulated, trialText.replace("heights[i] ? 64 : 0", "128")), 256 + (arch() === "x64" ? 4 : 5));
  const here = spawnSync("grep", ["-qw", "amx_tile", "/proc/cpuinfo"]).status === 0;
  if (!here) assert.equal(tried(["-mamx-tile", "-mamx-bf16", "-mamx-int8"], trialText), 256 + 4);
});

test("registers that are refused, or go wrong, are a line in the features, and their products go another way", async () => {
  const answers = (granted: number, end: number): Library => ({
    path: "",
    symbol: () => 0,
    function: (declaration) =>
      Object.assign(() => (declaration.includes("granted") ? granted : end), { async: () => {} }),
  });
  assert.equal(refusalOf(answers(0, 0)), undefined);
  assert.equal(refusalOf(answers(95, 0)), "the system does not grant them (error 95)");
  assert.equal(refusalOf(answers(0, 1)), "a product by them is wrong");
  assert.equal(refusalOf(answers(0, 256 + 4)), "a product by them was ended by signal 4");
  assert.equal(refusalOf(answers(0, -12)), "they were not tried (error 12)");
  const wide = ["__x86_64__", "__AVX__", "__AVX512F__", "__AVX512BW__", "__AVX512DQ__", "__AVX512VL__"];
  const of = (...more: readonly string[]) => nativeHardware(new Map([...wide, ...more].map((name) => [name, "1"])));
  const featuresOf = async (names: readonly string[], open: () => Promise<Library>): Promise<string[]> =>
    (await withTrial(of(...names), open)).features.filter((f) => f.includes("amx"));
  assert.deepEqual(await featuresOf(macros, async () => answers(0, 0)), ["amx-tile", "amx-int8", "amx-bf16"]);
  const older = ["__AMXTILE__", "__AMXINT8__", "__AMXBF16__"];
  assert.deepEqual(await featuresOf(older, async () => answers(0, 1)), ["no amx: a product by them is wrong"]);
  assert.deepEqual(await featuresOf(macros, () => Promise.reject(new Error())), [
    "no amx: what tries them is not built",
  ]);
  assert.deepEqual(await featuresOf(macros.slice(0, 1), async () => answers(0, 0)), [
    "no amx: some of their products are missing",
  ]);
  assert.deepEqual(await featuresOf([], () => Promise.reject(new Error())), []);
});

/** Several tiles of rows and columns, what is left of both, and of the terms. */
const sizes = [100, 150, 333] as const;
const products = jit((x: Tensor, y: Tensor, a: Tensor, b: Tensor): readonly Tensor[] => [
  matmul(x.cast("f32"), y.cast("f32")).add(1).clip(-2, 9),
  matmul(a.cast("i32"), b.cast("i32")),
]);

test("the tier goes by them, with the same bits for 1, 2 and 5 threads", { skip: noNative }, async (t) => {
  const [m, n, k] = sizes;
  const bytes = (seed: number, rows: number, columns: number): Tensor =>
    random.normal(key(seed), [rows, columns]).mul(40).clip(-128, 127).cast("i8");
  const values = async (threads: number): Promise<number[][]> => {
    const { features } = await device("cpu:native", { options: { threads, grain: 1 } });
    if (!features.includes("avx512f")) return [];
    assert.ok(features.includes("amx-bf16") && features.includes("emulated-tiles"), features.join(", "));
    const given = [
      random.normal(key(1), [m, k]).cast("bf16"),
      random.normal(key(2), [k, n]).cast("bf16"),
      bytes(3, m, k),
      bytes(4, k, n),
    ] as const;
    const call = callOf.get(products);
    const { artifacts } = (await call?.([...given]).program.plan()) ?? { artifacts: [] };
    assert.equal(artifacts.filter(({ code }) => String(code).includes("&tiles")).length, 2);
    return Promise.all(products(...given).map(async (y) => Array.from(await y.data(), Number)));
  };
  const one = await values(1);
  if (one.length === 0) return t.skip("vectors of this processor have fewer than 16 lanes");
  assert.equal(one[0]?.length, m * n);
  for (const threads of [2, 5]) assert.deepEqual(await values(threads), one, `${threads} threads`);
});
