/** Every operation of `fixtures/ops`, `structured` and `elementwise` on every device: values, gradients and Hessian-vector products against PyTorch's in f64.
 *  In f32 operations are lazy, in f64 the whole case is one jitted call, so both ways of running are held to the numbers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type DType, fromBytes, grad, jit, type Tensor, tensor } from "../core/src/index.ts";
import { onEachDevice } from "./devices.ts";
import { loadCases, type Loaded, type OpCase } from "./fixtures/load.ts";
import { torchElementwise } from "./torch-elementwise.ts";
import { torchOps, viewed } from "./torch-ops.ts";
import { torchStructured } from "./torch-structured.ts";

const cases = (["ops", "structured", "elementwise", "attention"] as const).flatMap((folder) => loadCases(folder).cases);
const operations = { ...torchOps, ...torchStructured, ...torchElementwise };

test("every operation of the fixtures has its expression here", () => {
  const missing = [...new Set(cases.map(({ op }) => op))].filter((op) => !operations[op]);
  assert.deepEqual(missing, []);
});

type Wide = "f32" | "f64";

interface Results {
  readonly output: Tensor;
  readonly gradients: readonly Tensor[];
  readonly products: readonly Tensor[];
}

const apply = (c: Loaded<OpCase>, stored: readonly Tensor[]): Tensor => {
  const operation = operations[c.op];
  assert.ok(operation);
  const seen = stored.map((x, i) => viewed(x, c.inputs[i]?.views));
  return operation(seen, c.attr);
};

/** The stored tensor, floats (but for a cast's) in the dtype that is tested. */
function load(c: Loaded<OpCase>, part: string, wide: Wide): Tensor {
  const { dtype, shape, values, data } = c.tensor(part);
  const keeps = dtype !== "f32" || c.op === "cast";
  return keeps ? fromBytes(dtype as DType, shape, data) : tensor(values, { shape, dtype: wide });
}

/** Everything that the fixture has of the case. */
function compute(c: Loaded<OpCase>, wide: Wide): Results {
  const stored = c.inputs.map((_, i) => load(c, `input${i}`, wide));
  const output = apply(c, stored);
  const wanted = c.gradients ?? [];
  if (wanted.length === 0) return { output, gradients: [], products: [] };
  const cotangent = load(c, "cotangent", wide);
  const chosen = wanted.map((i) => stored[i] as Tensor);
  const pulled = grad((variables: readonly Tensor[]) => {
    const all = stored.map((x, i) => (wanted.includes(i) ? (variables[wanted.indexOf(i)] as Tensor) : x));
    return apply(c, all).mul(cotangent).sum();
  });
  const vectors = (c.hvp ?? []).map((i) => load(c, `vector${i}`, wide));
  const along = (variables: readonly Tensor[]): Tensor =>
    pulled(variables)
      .map((g, k) => g.mul(vectors[k] as Tensor).sum())
      .reduce((a, b) => a.add(b));
  return { output, gradients: pulled(chosen), products: vectors.length > 0 ? grad(along)(chosen) : [] };
}

/** Where Sinan means something else, after NumPy: the sign of NaN is NaN; PyTorch gives 0. */
const otherwise: Readonly<Record<string, (expected: number, i: number) => number>> = {
  "sign/special": (expected, i) => (i === 12 ? Number.NaN : expected),
};

interface Tolerance {
  readonly relative: number;
  readonly absolute: number;
}

/** PyTorch's `assert_close` in f32; f64 has nothing to hide. A second derivative sums more terms. */
const tolerances = { f32: { relative: 1.3e-6, absolute: 1e-5 }, f64: { relative: 1e-9, absolute: 1e-11 } } as const;
const second = { f32: { relative: 2e-5, absolute: 2e-5 }, f64: { relative: 1e-9, absolute: 1e-10 } } as const;

async function compare(
  c: Loaded<OpCase>,
  part: string,
  actual: Tensor,
  { relative, absolute }: Tolerance,
  floor = 0,
): Promise<string[]> {
  const expected = c.tensor(part);
  if (String(actual.shape) !== String(expected.shape))
    return [`${c.name} ${part}: shape [${actual.shape}], not [${expected.shape}]`];
  if (!expected.dtype.startsWith("f") && actual.dtype !== expected.dtype)
    return [`${c.name} ${part}: ${actual.dtype}, not ${expected.dtype}`];
  const values = await actual.data();
  const exact = !["f32", "f64"].includes(actual.dtype) || c.op === "cast";
  for (let i = 0; i < expected.values.length; i++) {
    const given = expected.values[i] as number;
    const [a, e] = [Number(values[i]), otherwise[c.name]?.(given, i) ?? given];
    if (Object.is(a, e) || a === e) continue;
    if (!exact && Math.abs(a - e) <= Math.max(absolute + relative * Math.abs(e), floor)) continue;
    return [`${c.name} ${part}[${i}]: ${a}, not ${e}`];
  }
  return [];
}

async function check(c: Loaded<OpCase>, wide: Wide): Promise<string[]> {
  const { output, gradients, products } = wide === "f32" ? compute(c, wide) : jit(() => compute(c, wide))();
  const floor = (e: number | undefined) => (wide === "f32" ? 4 * (e ?? 0) : 0);
  const found = await Promise.all([
    compare(c, "output", output, tolerances[wide], floor(c.error32?.output)),
    ...gradients.map((g, k) =>
      compare(c, `grad${c.gradients?.[k]}`, g, tolerances[wide], floor(c.error32?.gradients?.[k])),
    ),
    ...products.map((h, k) => compare(c, `hvp${c.hvp?.[k]}`, h, second[wide])),
  ]);
  return found.flat();
}

const byOp = Map.groupBy(cases, ({ op }) => op);

for (const [op, all] of byOp)
  onEachDevice(`${op} equals PyTorch`, async () => {
    const found: string[] = [];
    for (const c of all) {
      for (const wide of ["f32", "f64"] as const) {
        try {
          found.push(...(await check(c, wide)).map((text) => `${wide}: ${text}`));
        } catch (error) {
          found.push(`${wide}: ${c.name}: ${String((error as Error).stack)}`);
        }
      }
    }
    assert.deepEqual(found, []);
  });
