/** Compiled plans as one C program: each a function that calls its kernels in turn, the way a device would run its steps. The
 *  program is built once for all of them, reads their inputs and writes their outputs. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import type { Fn } from "../core/src/ir/fn.ts";
import { tensorTypeOf } from "../core/src/ir/node.ts";
import { type KernelText, renderCLike } from "../core/src/kernel/c-like/c-like.ts";
import type { Artifact, Codegen } from "../core/src/runtime/driver.ts";
import type { Launch, Plan, Slot } from "../core/src/runtime/program.ts";
import { c, cFlags } from "../south/cpu/src/native/render/c.ts";
import { cCodegen } from "../south/cpu/src/native/render/codegen.ts";
import { type NativeHardware, nativeHardware } from "../south/cpu/src/native/toolchain/hardware.ts";
import { nativeUnit, renderNative } from "../south/cpu/src/native/render/render.ts";

/** The machine's C compiler, if there is one. */
export const compiler: string | undefined = [process.env["CC"], "cc", "gcc", "clang"]
  .filter((name) => name !== undefined && name !== "")
  .find((name) => spawnSync(name as string, ["--version"], { stdio: "ignore" }).status === 0);

/** How plans become a program, and how that is started. */
export interface Way {
  /** The compiler with its flags. */
  readonly compile: readonly string[];
  /** What stands before the program's path: an emulator. */
  readonly run?: readonly string[];
  /** Buffers have nothing around them but what sanitizers watch. */
  readonly bare?: boolean;
}

/** What a compiler says of the processor that these flags are for; undefined where it does not take them. */
export function hardwareOf(command: readonly string[], vectorBits?: number): NativeHardware | undefined {
  const [program = "", ...flags] = command;
  const asked = spawnSync(program, [...flags, "-dM", "-E", "-"], { input: "", encoding: "utf8" });
  if (asked.status !== 0) return undefined;
  const macros = new Map(
    [...asked.stdout.matchAll(/^#define (\w+) ?(.*)$/gm)].map(([, name, value]) => [name as string, value as string]),
  );
  return nativeHardware(macros, vectorBits);
}

/** The compiler for the machine that this runs on, where it knows it. */
function own(): readonly string[] {
  const command = [compiler as string, "-march=native"];
  const hardware = hardwareOf(command);
  return hardware ? [...command, ...hardware.flags] : command.slice(0, 1);
}

const kernels = new WeakMap<Artifact, Fn>();

/** Keeps the scheduled kernel: its text is made with all the others'. */
export const keepKernels: Codegen = {
  name: "c11",
  level: "loops",
  share: (kernel, hardware) => cCodegen.share?.(kernel, hardware) ?? kernel,
  render: (kernel) => {
    const { scratchBytes } = renderCLike(kernel, c);
    const artifact = { codegen: "c11", name: kernel.name, code: "", scratchBytes };
    kernels.set(artifact, kernel);
    return artifact;
  },
};

/** A kernel as C whose lanes are vectors of so many floats, or written out. */
function rendered(kernel: Fn, lanes: number, fused: boolean, features: readonly string[] = []): KernelText {
  if (lanes > 1)
    return renderNative(kernel, {
      features: [...(fused ? ["fma"] : []), ...features],
      compute: [{ unit: "vector", dtype: "f32", lanes }],
    });
  const { pointer: _, ...plain } = c;
  return renderCLike(kernel, plain, { fused });
}

/** The functions of a plan's kernels, in vectors of so many floats. */
export const functionsOf = (plan: Plan, lanes: number, features: readonly string[] = []): string =>
  plan.artifacts.map((a) => rendered(kernels.get(a) as Fn, lanes, false, features).functions).join("\n");

/** One translation unit of the kernels of plans. */
export const unitText = (plans: readonly Plan[], lanes: number, features: readonly string[]): string =>
  nativeUnit(
    plans.flatMap(({ artifacts }) => artifacts.map((a) => rendered(kernels.get(a) as Fn, lanes, true, features))),
  );

export interface PlanCase {
  /** What the processor has that its text depends on, beside `fma`. */
  readonly features?: readonly string[];
  /** Lanes of vectors; 1 to write them out. */
  readonly lanes: number;
  readonly plan: Plan;
  /** Bytes, or numbers for scalars in host space. */
  readonly inputs: readonly (Uint8Array | number)[];
  readonly outputBytes: readonly number[];
}

/** A plan of one kernel. */
export function kernelPlan(kernel: Fn): Plan {
  const artifact = keepKernels.render(kernel, {} as Parameters<Codegen["render"]>[1]);
  const buffers = kernel.params.filter((p) => tensorTypeOf(p).space !== "host");
  const slots = buffers.map(
    (_, index): Slot => ({ kind: index < buffers.length - 1 ? "input" : "output", index, bytes: 0 }),
  );
  const scratch: Slot[] =
    artifact.scratchBytes > 0 ? [{ kind: "temporary", block: 0, offset: 0, bytes: artifact.scratchBytes }] : [];
  const outputs = slots.map((s): Slot => (s.kind === "output" ? { ...s, index: 0 } : s));
  return {
    name: kernel.name,
    artifacts: [artifact],
    steps: [{ kernel: 0, slots: [...outputs, ...scratch], scalars: [] }],
    blocks: [artifact.scratchBytes],
    reuse: [-1],
    layout: {
      values: [],
      uses: [],
      memory: { blocks: [artifact.scratchBytes], places: [], scratch: [], reuse: [-1] },
      alignment: 64,
    },
  };
}

const guard = 64;
const filler = 0xa5;

/** What is told of every access out of bounds, and of what C leaves undefined: wrapped integers are none, as kernels are compiled so that
 *  they wrap. */
const sanitizers: readonly string[] = [
  "-O1",
  "-g",
  "-fno-omit-frame-pointer",
  "-fsanitize=address,undefined",
  "-fno-sanitize-recover=all",
];

/** Why there are no sanitizers here; false if there are. */
export function noSanitizers(): string | false {
  if (compiler === undefined) return "there is no C compiler";
  const folder = mkdtempSync(path.join(tmpdir(), "sinan-c-"));
  try {
    const to = path.join(folder, "nothing");
    const built = spawnSync(compiler, [...sanitizers, "-x", "c", "-o", to, "-"], {
      input: "int main(void) { return 0; }",
    });
    if (built.status === 0 && spawnSync(to).status === 0) return false;
    return `${compiler} has no address and undefined-behaviour sanitizers`;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const ownWay = (): Way => ({ compile: [...own(), "-O2"] });

/** Under the sanitizers. */
export const sanitized = (): Way => ({ compile: [...own(), ...sanitizers], bare: true });

/** Runs the plans.
 *  @param fused  whether sums of products take one rounding a step
 *  @returns the bytes of each plan's outputs
 *  @throws Error with the compiler's words, or if a kernel wrote beside an output */
export function runPlans(cases: readonly PlanCase[], fused: boolean, way: Way = ownWay()): Uint8Array[][] {
  const texts = cases.map(
    ({ plan, lanes, features }) =>
      new Map(plan.artifacts.map((a) => [a, rendered(kernels.get(a) as Fn, lanes, fused, features)])),
  );
  const text = nativeUnit(texts.flatMap((own) => [...own.values()]));
  const functions = cases.map(({ plan }, i) => planText(plan, i, texts[i] as (typeof texts)[number]));
  const table = `static void (*const plans[])(char **, char **, const double *) = { ${cases.map((_, i) => `plan${i}`).join(", ")} };`;
  const around = way.bare ? 0 : guard;
  const source = [text, includes, ...functions, table, main(cases, around)].join("\n");
  const folder = mkdtempSync(path.join(tmpdir(), "sinan-c-"));
  try {
    const [from, to] = [path.join(folder, "plans.c"), path.join(folder, "plans")];
    writeFileSync(from, source);
    const [program = "", ...flags] = way.compile;
    const built = spawnSync(program, [...flags, ...cFlags, "-o", to, from, "-lm"], { encoding: "utf8" });
    if (built.status !== 0) throw new Error(`the C compiler refuses the kernels:\n${built.stderr.slice(0, 4000)}`);
    const input = Buffer.concat(
      cases.flatMap(({ inputs }) => inputs.map((x) => (typeof x === "number" ? double(x) : x))),
    );
    const [started, ...words] = [...(way.run ?? []), to];
    const ran = spawnSync(started, words, { input, maxBuffer: 2 ** 28 });
    if (ran.status !== 0)
      throw new Error(`the kernels failed: ${ran.signal ?? ran.status}\n${String(ran.stderr).slice(0, 4000)}`);
    // A Buffer's slices are views.
    return outputsOf(cases, Uint8Array.from(ran.stdout), around);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The shares of a part run from the last to the first. */
const includes = `#include <stdio.h>
#include <stdlib.h>
static void run(void (*part)(char *const *, const double *, int64_t, int64_t), char *const *buffers, const double *scalars, int extent) {
  for (int end = extent; end > 0; end -= 3) part(buffers, scalars, end > 3 ? end - 3 : 0, end);
}`;

/** A function that runs the steps over the inputs, the outputs and blocks of temporaries. */
function planText(plan: Plan, i: number, texts: ReadonlyMap<Artifact, KernelText>): string {
  const place = (slot: Slot): string =>
    slot.kind === "temporary" ? `block${slot.block} + ${slot.offset}` : `${slot.kind}s[${slot.index}]`;
  const steps = (plan.steps as readonly Launch[]).map(({ kernel, slots, scalars, over }) => {
    const [from, to] = [slots[0], slots.at(-1)] as [Slot, Slot];
    const moved = over ? [`  memmove(${place(to)}, ${place(from)}, ${to.bytes});`] : [];
    const parts = texts.get(plan.artifacts[kernel] as Artifact)?.parts ?? [];
    const buffers = `(char *[]){ ${slots.map(place).join(", ")} }`;
    const numbers = scalars.length > 0 ? `(double[]){ ${scalars.map((s) => `scalars[${s}]`).join(", ")} }` : "0";
    const runs = parts.map(({ symbol, extent }) => `  run(${symbol}, ${buffers}, ${numbers}, ${extent});`);
    return [...moved, ...runs].join("\n");
  });
  const blocks = plan.blocks.map(
    (bytes, n) =>
      `  char *block${n} = 0;\n  if (posix_memalign((void **)&block${n}, 64, ${bytes})) exit(3);\n  memset(block${n}, ${filler}, ${bytes});`,
  );
  const freed = plan.blocks.map((_, n) => `  free(block${n});`);
  return `static void plan${i}(char **inputs, char **outputs, const double *scalars) {\n${[...blocks, ...steps, ...freed].join("\n")}\n}`;
}

/** Reads the inputs of one plan after another, runs it, writes its outputs with so many bytes around them. */
function main(cases: readonly PlanCase[], around: number): string {
  const sizes = (of: (c: PlanCase) => readonly number[]): string =>
    `{ ${cases.map((one) => `(const int[]){ ${[...of(one), -1].join(", ")} }`).join(", ")} }`;
  return `
static const int *const inputBytes[] = ${sizes(({ inputs }) => inputs.map((x) => (typeof x === "number" ? -2 : x.length)))};
static const int *const outputBytes[] = ${sizes(({ outputBytes }) => outputBytes)};
static char *take(int bytes) {
  char *at = 0;
  if (posix_memalign((void **)&at, 64, bytes + ${2 * around})) exit(3);
  memset(at, ${filler}, bytes + ${2 * around});
  return at;
}
int main(void) {
  for (int i = 0; i < ${cases.length}; i++) {
    char *inputs[64], *outputs[64];
    double scalars[64];
    for (int j = 0; inputBytes[i][j] != -1; j++) {
      const int bytes = inputBytes[i][j];
      if (bytes == -2) { if (fread(scalars + j, 8, 1, stdin) != 1) return 2; continue; }
      inputs[j] = take(bytes) + ${around};
      if (fread(inputs[j], 1, bytes, stdin) != (size_t)bytes) return 2;
    }
    for (int j = 0; outputBytes[i][j] >= 0; j++) outputs[j] = take(outputBytes[i][j]) + ${around};
    plans[i](inputs, outputs, scalars);
    for (int j = 0; outputBytes[i][j] >= 0; j++)
      fwrite(outputs[j] - ${around}, 1, outputBytes[i][j] + ${2 * around}, stdout);
    for (int j = 0; inputBytes[i][j] != -1; j++) if (inputBytes[i][j] >= 0) free(inputs[j] - ${around});
    for (int j = 0; outputBytes[i][j] >= 0; j++) free(outputs[j] - ${around});
  }
  return 0;
}`;
}

const double = (x: number): Uint8Array => new Uint8Array(Float64Array.of(x).buffer);

function outputsOf(cases: readonly PlanCase[], bytes: Uint8Array, beside: number): Uint8Array[][] {
  let at = 0;
  return cases.map(({ outputBytes, plan }) =>
    outputBytes.map((size) => {
      const whole = bytes.subarray(at, (at += size + 2 * beside));
      const around = [...whole.subarray(0, beside), ...whole.subarray(beside + size)];
      if (around.some((b) => b !== filler)) throw new Error(`${plan.name}: bytes beside an output were written`);
      return whole.slice(beside, beside + size);
    }),
  );
}
