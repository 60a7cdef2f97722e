/** Static quantisation: products of integers of 8 bits that are scaled, rounded, clamped and stored in 8 bits again are one kernel, and no integer
 *  of 32 bits is stored between two of them. Values are those of PyTorch's quantised engine, to the bit. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compile } from "../core/src/compiler/compile.ts";
import { type DType, device, jit, key, matmul, random, tensor, type Tensor } from "../core/src/index.ts";
import { type TensorType, tensorType } from "../core/src/ir/type.ts";
import type { HardwareModel } from "../core/src/runtime/hardware.ts";
import { trace } from "../core/src/tensor/trace.ts";
import { cpuDriver } from "../south/cpu/src/index.ts";
import { noNative, onEachDevice } from "./devices.ts";
import { type FixtureTensor, loadCases, named } from "./fixtures/load.ts";

const { cases, tensors } = loadCases("requantise");
const numbers = async (x: Tensor): Promise<number[]> => Array.from(await x.data(), Number);
const given = ({ values, shape }: FixtureTensor, dtype: DType): Tensor => tensor(values, { shape, dtype });

/** A sum of products in 32 bits. */
const sums = (x: Tensor, w: Tensor): Tensor => matmul(x.cast("i32"), w.cast("i32"));

/** To 8 bits: halves go to the even neighbour. */
const rounded = (x: Tensor, dtype: "i8" | "u8", zero = 0, least?: number): Tensor => {
  const [low, high] = dtype === "i8" ? [-128, 127] : [0, 255];
  return x
    .round()
    .add(zero)
    .clip(least ?? low, high)
    .cast(dtype);
};

async function areTheirs(): Promise<void> {
  assert.equal(cases.length, 3);
  for (const { name, zero, outZero, relu, tensor: part } of cases) {
    const [x, w] = [given(part("x"), "u8"), given(part("w"), "i8")];
    // What is 0 in x is a part of the bias, as the weights are known.
    const bias = given(part("bias"), "i32").sub(w.cast("i32").sum(1).mul(zero));
    const linear = (a: Tensor, b: Tensor, c: Tensor, factor: Tensor): Tensor =>
      rounded(sums(a, b.transpose()).add(c).cast("f32").mul(factor), "u8", outZero, relu ? outZero : 0);
    const y = jit(linear)(x, w, bias, given(part("factor"), "f32"));
    assert.equal(y.dtype, "u8");
    assert.deepEqual(await numbers(y), [...part("y").values], name);
  }
  const [x, w] = ["x", "w"].map((part) => given(named(tensors, `f32/${part}`), "f32")) as [Tensor, Tensor];
  const y = jit((a: Tensor, b: Tensor) => rounded(matmul(a, b.transpose()).div(0.5), "i8", -3))(x, w);
  assert.deepEqual(await numbers(y), [...named(tensors, "f32/y").values], "f32");
}

onEachDevice("sums that are scaled and rounded to 8 bits are PyTorch's", areTheirs);
test("they are PyTorch's on the native tier", { skip: noNative }, async () => {
  await device("cpu:native");
  await areTheirs();
});

const [m, k, n] = [24, 96, 80] as const;
const bytes = (rows: number, columns: number): TensorType => tensorType("i8", [rows, columns]);
const f32 = (...dims: number[]): TensorType => tensorType("f32", dims);

type Graph = (operands: readonly Tensor[]) => Tensor;

/** Bytes of what each kernel stores for others, the last result alone or so many of them; panels of its own come behind. */
async function storedBy(types: readonly TensorType[], graph: Graph, results = 1): Promise<number[]> {
  const [hardware] = await cpuDriver.probe();
  const { fn } = trace("quantised", types, (operands) => [graph(operands)]);
  const { steps, artifacts } = compile(fn, hardware as HardwareModel);
  return steps.flatMap((step, i) => {
    assert.ok("slots" in step && "kernel" in step);
    const own = (artifacts[step.kernel]?.scratchBytes ?? 0) > 0 ? 1 : 0;
    const end = step.slots.length - own;
    return step.slots.slice(end - (i === 0 ? results : 1), end).map(({ bytes: b }) => b);
  });
}

const one: Readonly<Record<string, readonly [types: readonly TensorType[], graph: Graph]>> = {
  "scaled as a whole": [
    [bytes(m, k), bytes(k, n)],
    ([x, w]) =>
      rounded(
        sums(x as Tensor, w as Tensor)
          .cast("f32")
          .mul(0.001),
        "i8",
      ),
  ],
  "scaled by channel, with a bias of integers, by transposed weights": [
    [bytes(m, k), bytes(n, k), f32(n), tensorType("i32", [n])],
    ([x, w, s, b]) =>
      rounded(
        sums(x as Tensor, (w as Tensor).transpose())
          .add(b as Tensor)
          .cast("f32")
          .mul(s as Tensor),
        "i8",
        5,
      ),
  ],
  "with a residual of bytes": [
    [bytes(m, k), bytes(k, n), f32(n), bytes(m, n)],
    ([x, w, s, r]) =>
      rounded(
        sums(x as Tensor, w as Tensor)
          .cast("f32")
          .mul(s as Tensor)
          .add((r as Tensor).cast("f32").mul(0.5))
          .maximum(0),
        "i8",
      ),
  ],
  "of one row": [
    [bytes(1, k), bytes(k, n), f32(n)],
    ([x, w, s]) =>
      rounded(
        sums(x as Tensor, w as Tensor)
          .cast("f32")
          .mul(s as Tensor),
        "i8",
      ),
  ],
  "of f32": [
    [f32(m, k), f32(k, n), f32(n)],
    ([x, w, b]) =>
      rounded(
        matmul(x as Tensor, w as Tensor)
          .add(b as Tensor)
          .div(0.25),
        "i8",
        -10,
      ),
  ],
};

for (const [name, [types, graph]] of Object.entries(one))
  test(`a product whose result is rounded to 8 bits is one kernel, ${name}`, async () => {
    const rows = types[0]?.dims[0] as number;
    assert.deepEqual(await storedBy(types, graph), [rows * n]);
  });

test("between two products there are bytes alone, whatever makes them", async () => {
  const types = [bytes(m, k), bytes(k, n), bytes(n, k)];
  const stored = await storedBy(types, ([x, w, v]) => {
    const h = rounded(
      sums(x as Tensor, w as Tensor)
        .cast("f32")
        .mul(0.002),
      "i8",
    );
    return rounded(
      sums(h, v as Tensor)
        .cast("f32")
        .mul(0.003),
      "i8",
    );
  });
  assert.deepEqual(stored, [m * n, m * k]);
});

test("a scale from a row's largest value is a kernel before: it stores bytes and a scale for each row", async () => {
  const types = [f32(m, k), bytes(k, n)];
  const graph: Graph = ([x, w]) => {
    const scale = (x as Tensor).abs().max(-1, { keepDims: true }).div(127);
    return sums(rounded((x as Tensor).div(scale), "i8"), w as Tensor)
      .cast("f32")
      .mul(scale);
  };
  assert.deepEqual(
    (await storedBy(types, graph, 2)).toSorted((a, b) => a - b),
    [4 * m, m * k, 4 * m * n],
  );
});

test("chains of quantised products have the interpreter's values, for any number of threads", async () => {
  const run = async (on: string, options: Record<string, number>): Promise<number[]> => {
    await device(on, { options });
    const of = (seed: number, dims: readonly number[]): Tensor => rounded(random.normal(key(seed), dims).mul(50), "i8");
    const chain = jit((x: Tensor, w: Tensor, v: Tensor) => {
      const h = rounded(sums(x, w).cast("f32").mul(0.002).maximum(0), "i8", -128);
      return rounded(sums(h, v).cast("f32").mul(0.003), "i8");
    });
    return numbers(chain(of(1, [m, k]), of(2, [k, n]), of(3, [n, k])));
  };
  const want = await run("interpreter", {});
  for (const tier of noNative ? ["cpu"] : ["cpu", "cpu:native"])
    for (const threads of [1, 2, 5])
      assert.deepEqual(await run(tier, { threads, grain: 1 }), want, `${tier}, ${threads}`);
});
