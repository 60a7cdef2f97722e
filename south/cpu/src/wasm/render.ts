/** The code generator of the WebAssembly tier: a scheduled kernel becomes a module with one function, `run`, that takes the
 *  addresses of its buffers, then that of its scratch memory where it has any, then its scalars. Where threads may share its
 *  loops, it also has a function for each part of it, which takes the iterations to run behind the scalars. */

import {
  type Artifact,
  byteSize,
  type Codegen,
  dtypeOf,
  type Fn,
  type HardwareModel,
  known,
  nestsOf,
  type Node,
  type NodeOf,
  tensorTypeOf,
  topological,
  workOf,
} from "sinan/south";
import { wasmModule } from "./assembler.ts";
import type { CheckerFor } from "./checker.ts";
import { emitNest } from "./emit.ts";
import { scalarType } from "./lanes.ts";
import { type Loop, lowerNest, type NestCode, type Parameters } from "./nest.ts";
import { imported } from "./scalar-ops.ts";

export const codegenName = "wasm-simd";

/** The name by which a module imports its n-th memory. All buffers lie in the first, except in code that was rendered for
 *  buffers in several. */
export const memoryName = (n: number): string => (n === 0 ? "memory" : `memory${n}`);

/** The module's section that says, for each of the functions `part0`, `part1` and so on which are to run in turn, how many
 *  iterations threads may share and about how many operations all of them are: [[iterations, operations], ...]. A module
 *  with one part that cannot be shared has no such functions: it is `run`. */
export const partsSection = "sinan.parts";

interface Part {
  readonly nests: NestCode[];
  readonly extent: number;
  work: number;
}

/** The iterations of the parallel loop; 1 where there is none. */
function sharedExtent(root: Loop): number {
  for (let loop = root.inner; loop; loop = loop.inner)
    if (loop.range?.attr.kind === "parallel") return loop.range.attr.extent;
  return 1;
}

/** Bytes to which each scratch buffer is aligned. */
const alignment = 64;

export interface RenderOptions {
  /** Follows the operand stack while emitting. */
  readonly check?: CheckerFor;
  /** For each buffer, and then for the scratch memory, the number of the memory that it lies in; 0 where left out. */
  readonly memories?: readonly number[];
}

/** Renders a kernel.
 *  @throws VerifyError if the function is not a kernel, or holds an op or dtype that has no rule here */
export function render(
  kernel: Fn,
  hardware: Pick<HardwareModel, "features" | "sharedMemory">,
  options: RenderOptions = {},
): Artifact {
  const { features, sharedMemory: shared = false } = hardware;
  const { check, memories = [] } = options;
  const memoryOf = (region: number): number => memories[region] ?? 0;
  const addresses = new Map<Node, { local: number; bytes: number; memory: number }>();
  const scalars = new Map<Node, { local: number; type: "i32" | "f32" | "f64" }>();
  const isScalar = (p: Node): boolean => tensorTypeOf(p).space === "host" && tensorTypeOf(p).dims.length === 0;
  const buffers = kernel.params.filter((p) => !isScalar(p));
  buffers.forEach((p, local) => addresses.set(p, { local, bytes: 0, memory: memoryOf(local) }));
  const scratch = topological(kernel.results).filter((n): n is NodeOf<"scratch"> => n.op === "scratch");
  let scratchBytes = 0;
  for (const s of scratch.sort((a, b) => a.attr.id - b.attr.id)) {
    addresses.set(s, { local: buffers.length, bytes: scratchBytes, memory: memoryOf(buffers.length) });
    const bytes = byteSize(s.attr.type.dtype, known(s.attr.type.dims[0] ?? 1, kernel.name));
    scratchBytes += Math.ceil(bytes / alignment) * alignment;
  }
  const first = buffers.length + (scratchBytes > 0 ? 1 : 0);
  kernel.params.filter(isScalar).forEach((p, i) => {
    const type = scalarType(dtypeOf(p));
    // A number that is neither is converted in the kernel.
    const isDouble = dtypeOf(p) === "f16" || dtypeOf(p) === "bf16";
    scalars.set(p, { local: first + i, type: isDouble || type === "i64" ? "f64" : type });
  });
  const parameters: Parameters = { addresses, scalars };
  const fused = features.includes("relaxed-madd");
  const nests: NestCode[] = [];
  const parts: Part[] = [];
  for (const nest of nestsOf(kernel)) {
    const code = lowerNest(nest, parameters, fused);
    if (!code) continue;
    nests.push(code);
    const extent = shared ? sharedExtent(code.root) : 1;
    const last = parts.at(-1);
    if (extent === 1 && last?.extent === 1) {
      last.nests.push(code);
      last.work += workOf(nest);
    } else parts.push({ nests: [code], extent, work: workOf(nest) });
  }

  const module = wasmModule({ check });
  for (let n = 0; n <= Math.max(0, ...memories); n++)
    module.importMemory("env", memoryName(n), shared ? { min: 1, max: 65536, shared } : { min: 1 });
  const called = new Set(nests.flatMap((nest) => [...nest.graph.callees]));
  const callees = new Map<string, number>();
  for (const name of imported) {
    if (!called.has(name)) continue;
    const arity = name === "pow" || name === "fmod" ? 2 : 1;
    callees.set(name, module.importFunction("math", name, new Array<"f64">(arity).fill("f64"), ["f64"]));
  }
  const types = [...new Array<"i32">(first).fill("i32"), ...[...scalars.values()].map((s) => s.type)];
  const whole = parts.every((part) => part.extent === 1);
  const functions = whole
    ? []
    : parts.map((part, i) =>
        module.fn(
          [...types, "i32", "i32"],
          [],
          (body) => {
            const share = { begin: types.length, end: types.length + 1 };
            for (const nest of part.nests) emitNest(body, nest, callees, part.extent > 1 ? share : undefined);
          },
          { name: `${kernel.name} ${i}`, export: `part${i}` },
        ),
      );
  module.fn(
    types,
    [],
    (body) => {
      if (whole) for (const nest of nests) emitNest(body, nest, callees);
      for (const [i, callee] of functions.entries()) {
        for (const local of types.keys()) body.get(local);
        body.i32(0);
        body.i32((parts[i] as Part).extent);
        body.call(callee);
      }
    },
    { name: kernel.name, export: "run" },
  );
  if (shared) module.note(partsSection, JSON.stringify(parts.map(({ extent, work }) => [extent, work])));
  return {
    codegen: codegenName,
    name: kernel.name,
    code: module.bytes(),
    scratchBytes,
    apart: (of) => render(kernel, hardware, { ...options, memories: of }).code,
  };
}

/** Kernels as WebAssembly with 128-bit SIMD. */
export const wasmCodegen: Codegen = {
  name: codegenName,
  level: "loops",
  render: (kernel, hardware) => render(kernel, hardware),
};
