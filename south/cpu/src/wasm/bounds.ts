/** The most that kernels can reach, for benches to stand beside: a loop of nothing but multiply-adds whose operands lie in the first
 *  cache, and one that reads memory once. Made with the assembler that makes the kernels. */
import type { Artifact } from "sinan/south";
import { type WasmModule, wasmModule } from "./assembler.ts";
import type { FunctionBody, Label } from "./body.ts";
import { partsSection } from "./parts.ts";
import { codegenName, memoryName } from "./render.ts";

const [rows, vectors, steps] = [6, 2, 256] as const;
/** Floating-point operations of one call. */
export const maddFlops = 2 * rows * vectors * 4 * steps;

/** One call runs a register tile of 6 × 8, as the kernels have it, over its operands once. */
export function maddLoop(): () => void {
  const module = wasmModule();
  module.importMemory("env", "memory", { min: 1 });
  emit(module);
  const env = { memory: new WebAssembly.Memory({ initial: 1 }) };
  const { run } = new WebAssembly.Instance(new WebAssembly.Module(module.bytes()), { env }).exports;
  if (typeof run !== "function") throw new TypeError("the loop exports no function");
  const [a, b, c] = [0, 4 * rows * steps, 4 * (rows + 4 * vectors) * steps];
  return () => void run(a, b, c);
}

function emit(module: WasmModule): void {
  module.fn(
    ["i32", "i32", "i32"],
    [],
    (f, a, b, c) => {
      const sums = Array.from({ length: rows * vectors }, () => f.local("v128"));
      const columns = Array.from({ length: vectors }, () => f.local("v128"));
      const [row, left] = [f.local("v128"), f.local("i32")];
      f.i32(steps);
      f.set(left);
      const again = f.loop();
      columns.forEach((column, j) => {
        f.get(b);
        f.op("v128.load", 16 * j);
        f.set(column);
      });
      for (let i = 0; i < rows; i++) {
        f.get(a);
        f.op("v128.load32_splat", 4 * i);
        f.set(row);
        columns.forEach((column, j) => {
          const sum = sums[i * vectors + j] as number;
          f.get(row);
          f.get(column);
          f.get(sum);
          f.op("f32x4.relaxed_madd");
          f.set(sum);
        });
      }
      forward(f, a, 4 * rows);
      forward(f, b, 16 * vectors);
      repeat(f, again, left);
      sums.forEach((sum, i) => {
        f.get(c);
        f.get(sum);
        f.op("v128.store", 16 * i);
      });
    },
    { export: "run" },
  );
}

/** Moves a pointer by some bytes. */
function forward(f: FunctionBody, pointer: number, bytes: number): void {
  f.get(pointer);
  f.i32(bytes);
  f.op("i32.add");
  f.set(pointer);
}

/** Ends a loop that runs as often as a local says, which is counted down to 0. */
function repeat(f: FunctionBody, loop: Label, left: number): void {
  f.get(left);
  f.i32(1);
  f.op("i32.sub");
  f.tee(left);
  f.brIf(loop);
  f.end();
}

/** Bytes that one iteration of `reading` reads. */
export const pieceBytes = 2 ** 20;

/** A kernel of two regions, `pieces` pieces and 16 bytes for each of them, that reads the former and leaves a sum of each piece in
 *  the latter. Threads share the pieces.
 *  @param shared  whether the device's memory is shared */
export function reading(pieces: number, shared: boolean): Artifact {
  const module = wasmModule();
  module.importMemory("env", memoryName(0), shared ? { min: 1, max: 65536, shared } : { min: 1 });
  const [vectors, line] = [8, 16] as const;
  const part = module.fn(
    ["i32", "i32", "i32", "i32"],
    [],
    (f, from, to, begin, end) => {
      const sums = Array.from({ length: vectors }, () => f.local("v128"));
      const [pointer, left] = [f.local("i32"), f.local("i32")];
      const each = f.loop();
      f.get(from);
      f.get(begin);
      f.i32(pieceBytes);
      f.op("i32.mul");
      f.op("i32.add");
      f.set(pointer);
      f.i32(pieceBytes / (vectors * line));
      f.set(left);
      const again = f.loop();
      sums.forEach((sum, i) => {
        f.get(sum);
        f.get(pointer);
        f.op("v128.load", line * i);
        f.op("f32x4.add");
        f.set(sum);
      });
      forward(f, pointer, vectors * line);
      repeat(f, again, left);
      f.get(to);
      f.get(begin);
      f.i32(line);
      f.op("i32.mul");
      f.op("i32.add");
      sums.forEach((sum, i) => {
        f.get(sum);
        if (i > 0) f.op("f32x4.add");
      });
      f.op("v128.store");
      f.get(begin);
      f.i32(1);
      f.op("i32.add");
      f.tee(begin);
      f.get(end);
      f.op("i32.lt_u");
      f.brIf(each);
      f.end();
    },
    { name: "reading 0", export: "part0" },
  );
  module.fn(
    ["i32", "i32"],
    [],
    (f, from, to) => {
      f.get(from);
      f.get(to);
      f.i32(0);
      f.i32(pieces);
      f.call(part);
    },
    { name: "reading", export: "run" },
  );
  module.note(partsSection, JSON.stringify([[pieces, pieces * pieceBytes]]));
  return { codegen: codegenName, name: "reading", code: module.bytes(), scratchBytes: 0 };
}
