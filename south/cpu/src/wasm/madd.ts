/** The most that a product can reach: a loop of nothing but relaxed multiply-adds on a register tile of 6 × 8, as the kernels have
 *  it, whose operands lie in the first cache. Made with the assembler that makes the kernels. */
import { type WasmModule, wasmModule } from "./assembler.ts";

const [rows, vectors, steps] = [6, 2, 256] as const;
/** Floating-point operations of one call. */
export const maddFlops = 2 * rows * vectors * 4 * steps;

/** One call runs the tile over its operands once. */
export function maddLoop(): () => void {
  const module = wasmModule();
  module.memory({ min: 1 });
  emit(module);
  const { run } = new WebAssembly.Instance(new WebAssembly.Module(module.bytes())).exports;
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
      for (const [pointer, bytes] of [
        [a, 4 * rows],
        [b, 16 * vectors],
      ] as const) {
        f.get(pointer);
        f.i32(bytes);
        f.op("i32.add");
        f.set(pointer);
      }
      f.get(left);
      f.i32(1);
      f.op("i32.sub");
      f.tee(left);
      f.brIf(again);
      f.end();
      sums.forEach((sum, i) => {
        f.get(c);
        f.get(sum);
        f.op("v128.store", 16 * i);
      });
    },
    { export: "run" },
  );
}
