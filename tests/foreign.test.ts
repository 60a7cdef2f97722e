/** Kernels as C for processors that this machine is not: built by cross compilers and run under QEMU, where these are installed, and
 *  compared with the interpreter. Lanes are NEON's, SVE's of three widths, RISC-V's vectors, and plain C. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import fc from "fast-check";
import { compile } from "../core/src/compiler/compile.ts";
import { evaluate } from "../core/src/interpreter/evaluate.ts";
import { decode, encode, type Value, valueOf } from "../core/src/interpreter/value.ts";
import { type DType, dtypes } from "../core/src/ir/dtype.ts";
import type { Fn } from "../core/src/ir/fn.ts";
import { dimsOf, dtypeOf, type Node, type Op } from "../core/src/ir/node.ts";
import { print } from "../core/src/ir/print.ts";
import { group, hardware, sample } from "../core/src/kernel/kernel.fixture.ts";
import { attention } from "../core/src/ops/attention.ts";
import { blockDot } from "../core/src/ops/block-dot.ts";
import { blocks, zeroPoints } from "../core/src/ops/blocks.ts";
import { cast, dot } from "../core/src/ops/build.ts";
import type { HardwareModel } from "../core/src/runtime/hardware.ts";
import { register } from "../core/src/runtime/registry.ts";
import { scalableText } from "../south/cpu/src/native/toolchain/scalable.ts";
import { arbitrarySample, assertSameValues, everyDtype, type Sample } from "./arbitrary/graphs.ts";
import { controlOps, exactOps, smoothOps } from "./arbitrary/ops.ts";
import { hardwareOf, keepKernels, runPlans, type Way } from "./c-plans.ts";
import { magnitude, readsBitsOfNan } from "./pipeline.ts";

interface Processor {
  readonly name: string;
  /** A compiler with flags for it, and the emulator with those that make it one. */
  readonly compiler: readonly string[];
  readonly emulator: readonly string[];
  /** Where the processor is asked how long its vectors are. */
  readonly asked?: number;
  readonly lanes: number;
  readonly features: readonly string[];
}

const arm = ["aarch64-linux-gnu-gcc"];
const sve = (bits: number): readonly string[] => ["qemu-aarch64", "-cpu", `max,sve-default-vector-length=${bits / 8}`];

const processors: readonly Processor[] = [
  {
    name: "NEON with products of bytes",
    compiler: [...arm, "-march=armv8.2-a+dotprod+fp16"],
    emulator: ["qemu-aarch64", "-cpu", "max"],
    lanes: 4,
    features: ["fma", "neon", "dotprod", "neon-fp16"],
  },
  {
    name: "NEON with products of bf16",
    compiler: [...arm, "-march=armv8.2-a+dotprod+fp16+bf16"],
    emulator: ["qemu-aarch64", "-cpu", "max"],
    lanes: 4,
    features: ["fma", "neon", "dotprod", "neon-fp16", "neon-bf16"],
  },
  {
    name: "SVE of 256 bits, as the processor says",
    compiler: [...arm, "-march=armv8.2-a+sve"],
    emulator: sve(256),
    asked: 256,
    lanes: 8,
    features: ["fma", "neon", "neon-fp16", "sve"],
  },
  {
    name: "SVE of 512 bits, as the command says",
    compiler: ["clang", "--target=aarch64-linux-gnu", "-march=armv8.2-a+sve", "-msve-vector-bits=512"],
    emulator: sve(512),
    lanes: 16,
    features: ["fma", "neon", "neon-fp16", "sve"],
  },
  {
    name: "RISC-V with vectors of 256 bits",
    compiler: ["clang", "--target=riscv64-linux-gnu", "-march=rv64gcv_zvl256b"],
    emulator: ["qemu-riscv64", "-cpu", "rv64,v=true,vlen=256"],
    lanes: 8,
    features: ["fma", "rvv"],
  },
  {
    name: "RISC-V without vectors",
    compiler: ["riscv64-linux-gnu-gcc"],
    emulator: ["qemu-riscv64"],
    lanes: 4,
    features: ["fma"],
  },
];

const starts = ([program = ""]: readonly string[]): boolean =>
  spawnSync(program, ["--version"], { stdio: "ignore" }).status === 0;

/** Why programs for it are neither built nor run here; false if they are. */
function missing({ compiler, emulator }: Processor): string | false {
  const absent = [compiler, emulator].find((command) => !starts(command));
  if (absent) return `there is no ${absent[0]}`;
  const links = spawnSync(
    compiler[0] as string,
    [...compiler.slice(1), "-static", "-x", "c", "-o", "/dev/null", "-", "-lm"],
    {
      input: "#include <math.h>\nint main(int n, char **v) { return sqrt(n) < 0; }",
    },
  );
  return links.status === 0 ? false : `${compiler.join(" ")} has no C library`;
}

register({ codegen: keepKernels });

const modelOf = ({ lanes, vectorRegisters, features }: NonNullable<ReturnType<typeof hardwareOf>>): HardwareModel => ({
  ...hardware,
  id: `foreign-${lanes}-${features.join("-")}`,
  codegens: [keepKernels.name],
  compute: hardware.compute.map((u) => ({ ...u, lanes: (u.lanes * lanes) / 4 })),
  features,
  limits: { ...hardware.limits, vectorRegisters },
});

const isPlanned = (op: Op): boolean => !(controlOps as readonly Op[]).includes(op);
const seed = 20_261_126;

/** One in so many samples of each kind; `npm run test:devices` has all. */
const stride = process.env["SINAN_TEST_DEVICES"] === "all" ? 1 : 4;

const exact: readonly Sample[] = fc
  .sample(arbitrarySample({ dtypes: everyDtype, ops: exactOps, maxNodes: 14 }), { seed, numRuns: 24 })
  .filter(({ fn, args }) => !readsBitsOfNan(fn, args));
const smooth: readonly Sample[] = fc
  .sample(arbitrarySample({ dtypes: ["f32", "f64"], ops: smoothOps.filter(isPlanned), maxNodes: 10 }), {
    seed,
    numRuns: 16,
  })
  .filter(({ fn, args }) => magnitude(fn, args) < 1e5);

/** Small whole numbers: sums of their products are exact in every order. */
const filled = (fn: Fn): Sample => ({ fn, args: fn.params.map((p, i) => sample(dtypeOf(p), dimsOf(p), i)) });

const product = (
  dtype: DType,
  m: number,
  n: number,
  k: number,
  layout: number,
  to: DType = dtype,
  both = to === dtype,
): Fn =>
  group(
    [layout === 2 ? [k, m] : [m, k], layout === 1 ? [n, k] : [k, n]].map(
      (dims, i) => [i === 1 ? dtype : to === "i32" ? "u8" : both ? dtype : "f32", dims] as const,
    ),
    (a, b) =>
      dot(cast(a, to), cast(b, to), { contract: [[layout === 2 ? 0 : 1], [layout === 1 ? 1 : 0]], batch: [[], []] }),
  );

/** Both operands are bf16: each processor runs them all. */
const pairs: readonly Sample[] = [0, 1, 2]
  .flatMap((layout) => [
    product("bf16", 1, 37, 48, layout, "f32", true),
    product("bf16", 37, 43, 34, layout, "f32", true),
  ])
  .map(filled);

const wholes: readonly Sample[] = [
  ...[0, 1, 2].flatMap((layout) => [product("f32", 1, 37, 48, layout), product("f32", 37, 43, 67, layout)]),
  product("bf16", 3, 29, 64, 1, "f32"),
  product("f16", 3, 29, 64, 1, "f32"),
  product("i8", 9, 29, 47, 0, "i32"),
  product("i8", 9, 29, 64, 1, "i32"),
].map(filled);

/** Numbers between −1 and 1. */
const wave = (fn: Fn): Sample => ({
  fn,
  args: fn.params.map((p, i) => {
    const dims = dimsOf(p) as number[];
    const dtype = dtypeOf(p);
    if (dtypes[dtype].kind !== "float") return sample(dtype, dims, i);
    const count = dims.reduce((n, d) => n * d, 1);
    return valueOf(
      dtype,
      dims,
      Array.from({ length: count }, (_, at) => Math.fround(Math.sin(7 * at + i))),
    );
  }),
});

/** Products of blocks and rows of 8 bits. The zeros are the codes of each block, added up, times the one that stands for 0; beside minima
 *  times the row's scale, with the other sign. */
const coded = (["q8_0", "q4_0", "q4_k"] as const).map((dtype): Sample => {
  const count = dtype === "q4_k" ? 8 : 3;
  const fn = group(
    [
      ["i8", [9, 32 * count]],
      ["f32", [9, count]],
      [dtype === "q4_k" ? "f32" : "i32", [9, count]],
      ["u8", [29, ((32 * count) / dtypes[dtype].block) * dtypes[dtype].bytes]],
    ],
    (codes, scales, zeros, bytes) => blockDot(codes, scales, zeros, blocks(bytes, dtype)),
  );
  const { args } = wave(fn);
  const [codes, scales] = args.map((arg) => arg.data) as [Float64Array, Float64Array];
  const zeros = Array.from({ length: 9 * count }, (_, i) => {
    const sum = codes.slice(32 * i, 32 * i + 32).reduce((total, c) => total + c, 0);
    return dtype === "q4_k" ? -sum * (scales[i] as number) : sum * zeroPoints[dtype];
  });
  return { fn, args: args.with(2, valueOf(dtype === "q4_k" ? "f32" : "i32", [9, count], zeros)) };
});

const near: readonly Sample[] = [
  ...coded,
  wave(
    group(
      [7, 67, 67].map((length) => ["f32", [2, 3, length, 16]] as const),
      (q, k, v) =>
        attention({ q, k, v, mask: undefined, lengths: undefined, starts: undefined }, { causal: true, scale: 0.25 }),
    ),
  ),
];

/** What the processor says of its vectors. */
function answer({ compiler: [program = "", ...flags], emulator: [run = "", ...words] }: Processor): number {
  const folder = mkdtempSync(path.join(tmpdir(), "sinan-foreign-"));
  try {
    const binary = path.join(folder, "asks");
    const input = `${scalableText}\n#include <stdio.h>\nint main(void) { printf("%d", sinan_vector_bits()); return 0; }`;
    const built = spawnSync(program, [...flags, "-static", "-x", "c", "-o", binary, "-"], { input, encoding: "utf8" });
    assert.equal(built.status, 0, built.stderr);
    return Number(spawnSync(run, [...words, binary], { encoding: "utf8" }).stdout);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

for (const [at, processor] of processors.entries())
  test(`kernels on ${processor.name}`, { skip: missing(processor) }, () => {
    if (processor.asked) assert.equal(answer(processor), processor.asked);
    const facts = hardwareOf(processor.compiler, processor.asked);
    assert.ok(facts);
    assert.deepEqual([facts.lanes, facts.features], [processor.lanes, processor.features]);
    const model = modelOf(facts);
    const way: Way = { compile: [...processor.compiler, ...facts.flags, "-O2", "-static"], run: processor.emulator };
    const isChosen = (_: Sample, i: number): boolean => i % stride === at % stride;
    const same = [...[...exact, ...wholes].filter(isChosen), ...pairs];
    const all = [...same, ...[...near, ...smooth].filter(isChosen)];
    const outputs = runPlans(
      all.map(({ fn, args }) => ({
        plan: compile(fn, model),
        lanes: facts.lanes,
        inputs: args.map((v, j) => ("space" in (fn.params[j] as Node).type ? Number(v.data[0]) : encode(v))),
        outputBytes: evaluate(fn, args).map((v) => encode(v).length),
      })),
      true,
      way,
    );
    for (const [i, { fn, args }] of all.entries()) {
      const got = (outputs[i] ?? []).map((bytes, j) => {
        const result = fn.results[j] as Node;
        return decode(dtypeOf(result), bytes, dimsOf(result) as number[]);
      });
      if (i < same.length) assertSameValues(got, evaluate(fn, args), () => print(fn));
      else assertNear(got, fn, args);
    }
  });

function assertNear(got: readonly Value[], fn: Fn, args: readonly Value[]): void {
  const scale = magnitude(fn, args);
  evaluate(fn, args, { exact: true }).forEach(({ data }, j) => {
    data.forEach((e: number | bigint, i: number) => {
      const a = Number(got[j]?.data[i]);
      assert.ok(Math.abs(a - Number(e)) <= 2e-5 * scale * scale, `${a} is not ${e}\n${print(fn)}`);
    });
  });
}
