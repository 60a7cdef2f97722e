/** The code generator of the WebAssembly tier: a scheduled kernel becomes a module with one function, `run`, that takes the
 *  addresses of its buffers, then that of its scratch memory where it has any, then its scalars. Where loops can be
 *  shared, it also has a function for each part of it, which takes the iterations to run behind the scalars. */

import {
  type Artifact,
  bodyOf,
  byteSize,
  type Codegen,
  dtypeOf,
  type Fn,
  type HardwareModel,
  type Item,
  itemsOf,
  isHostScalar,
  known,
  type Node,
  type NodeOf,
  rangeOfLoop,
  topological,
} from "sinan/south";
import { type ValType, type WasmModule, wasmModule } from "./assembler.ts";
import type { BodyOf, FunctionBody } from "./body.ts";
import { emitNest, type Outers, type Share } from "./emit.ts";
import { scalarType } from "./lanes.ts";
import { lowerNest, lowerScalar, type NestCode, type Parameters } from "./nest.ts";
import { writeParts } from "./rules.ts";
import { imported } from "./scalar-ops.ts";

export const codegenName = "wasm-simd";

/** The name by which a module imports its n-th memory. All buffers lie in the first, except in code that was rendered for
 *  buffers in several. */
export const memoryName = (n: number): string => (n === 0 ? "memory" : `memory${n}`);

/** A loop around nests. */
export interface LoopCode {
  readonly range: NodeOf<"range">;
  readonly parallel: boolean;
  readonly limit: NestCode;
  readonly items: readonly Code[];
}

export type Code = NestCode | LoopCode;

/** An item of the kernel beside its code. */
export interface Lowered {
  readonly item: Item;
  readonly code: Code;
}

/** What a kernel's code is written with. */
export interface Writing {
  readonly module: WasmModule;
  readonly name: string;
  readonly lowered: readonly Lowered[];
  /** Of the parameters. */
  readonly types: readonly ValType[];
  readonly callees: ReadonlyMap<string, number>;
}

export const isLoop = (code: Code): code is LoopCode => "items" in code;

/** @returns undefined if nothing in it has iterations */
function lowerItem(item: Item, parameters: Parameters, fused: boolean): Code | undefined {
  if (item.op === "nest") return lowerNest(item, parameters, fused);
  const items = bodyOf(item).flatMap((inner) => lowerItem(inner, parameters, fused) ?? []);
  const range = rangeOfLoop(item);
  if (items.length === 0 || range.attr.extent === 0) return undefined;
  const limit = lowerScalar(item.src[1] as Node, parameters);
  return { range, parallel: item.attr.kind === "parallel", limit, items };
}

const codesIn = (code: Code): NestCode[] => (isLoop(code) ? [code.limit, ...code.items.flatMap(codesIn)] : [code]);

/** Writes an item; a parallel loop runs the iterations of the share, or all of them. */
export function emitItem(
  body: FunctionBody,
  code: Code,
  callees: ReadonlyMap<string, number>,
  outers: Outers,
  share: Share | undefined,
): void {
  if (!isLoop(code)) return emitNest(body, code, callees, outers, share);
  const [number, limit] = [body.local("i32"), body.local("i32")];
  if (share) body.get(share.begin);
  else body.i32(0);
  body.set(number);
  if (share) body.get(share.end);
  else emitNest(body, code.limit, callees, outers);
  body.set(limit);
  const done = body.block();
  const again = body.loop();
  body.get(number);
  body.get(limit);
  body.op("i32.ge_s");
  body.brIf(done);
  const inside = new Map(outers).set(code.range.attr.id, number);
  for (const item of code.items) emitItem(body, item, callees, inside, undefined);
  body.get(number);
  body.i32(1);
  body.op("i32.add");
  body.set(number);
  body.br(again);
  body.end();
  body.end();
  body.release(number, limit);
}

export const none: Outers = new Map();

/** Bytes to which each scratch buffer is aligned. */
const alignment = 64;

export interface RenderOptions {
  /** Follows the operand stack while emitting. */
  readonly check?: BodyOf;
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
  const buffers = kernel.params.filter((p) => !isHostScalar(p));
  buffers.forEach((p, local) => addresses.set(p, { local, bytes: 0, memory: memoryOf(local) }));
  const scratch = topological(kernel.results).filter((n): n is NodeOf<"scratch"> => n.op === "scratch");
  let scratchBytes = 0;
  for (const s of scratch.sort((a, b) => a.attr.id - b.attr.id)) {
    addresses.set(s, { local: buffers.length, bytes: scratchBytes, memory: memoryOf(buffers.length) });
    const bytes = byteSize(s.attr.type.dtype, known(s.attr.type.dims[0] ?? 1, kernel.name));
    scratchBytes += Math.ceil(bytes / alignment) * alignment;
  }
  const first = buffers.length + (scratchBytes > 0 ? 1 : 0);
  kernel.params.filter(isHostScalar).forEach((p, i) => {
    const type = scalarType(dtypeOf(p));
    // A number that is neither is converted in the kernel.
    const isDouble = dtypeOf(p) === "f16" || dtypeOf(p) === "bf16";
    scalars.set(p, { local: first + i, type: isDouble || type === "i64" ? "f64" : type });
  });
  const parameters: Parameters = { addresses, scalars };
  const fused = features.includes("relaxed-madd");
  const lowered = itemsOf(kernel).flatMap((item): Lowered[] => {
    const code = lowerItem(item, parameters, fused);
    return code ? [{ item, code }] : [];
  });

  const module = wasmModule({ check });
  for (let n = 0; n <= Math.max(0, ...memories); n++)
    module.importMemory("env", memoryName(n), shared ? { min: 1, max: 65536, shared } : { min: 1 });
  const called = new Set(lowered.flatMap(({ code }) => codesIn(code)).flatMap((code) => [...code.graph.callees]));
  const callees = new Map<string, number>();
  for (const name of imported) {
    if (!called.has(name)) continue;
    const arity = name === "pow" || name === "fmod" ? 2 : 1;
    callees.set(name, module.importFunction("math", name, new Array<"f64">(arity).fill("f64"), ["f64"]));
  }
  const types = [...new Array<"i32">(first).fill("i32"), ...[...scalars.values()].map((s) => s.type)];
  const callParts = writeParts()?.({ module, name: kernel.name, lowered, types, callees });
  module.fn(
    types,
    [],
    (body) => {
      if (callParts) callParts(body);
      else for (const { code } of lowered) emitItem(body, code, callees, none, undefined);
    },
    { name: kernel.name, export: "run" },
  );
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
