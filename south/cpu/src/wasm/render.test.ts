import assert from "node:assert/strict";
import { test } from "node:test";
import {
  apply,
  applySchedule,
  build,
  type Dim,
  type DType,
  dtypes,
  evaluateKernel,
  type Fn,
  lower,
  makeFn,
  nestsOf,
  newScope,
  type Node,
  type Option,
  print,
  roundTo,
  schedule,
  ScheduleError,
  type Space,
  tensorType,
  tensorTypeOf,
  within,
} from "sinan/south";
import { array, assert as assertProperty, asyncProperty, integer, nat, tuple } from "fast-check";
import wabt from "wabt";
import { cpuDriver } from "../index.ts";
import { render } from "./render.ts";
import { run } from "./rig.ts";

const {
  add,
  cast,
  concat,
  dot,
  exp,
  expand,
  flip,
  gather,
  idiv,
  iota,
  max,
  mul,
  pad,
  permute,
  random,
  reduce,
  reshape,
  scalar,
  scatter,
  slice,
  sub,
  tanh,
} = build;

const devices = [await cpuDriver.open("cpu"), await cpuDriver.open("cpu", { shared: false })];
const [device] = devices as [(typeof devices)[0]];

type Parameter = readonly [dtype: DType, dims: readonly Dim[], space?: Space];

const group = (params: readonly Parameter[], body: (...p: Node[]) => Node | readonly Node[]): Fn =>
  within(newScope(), () => {
    const nodes = params.map(([dtype, dims, space], index) =>
      build.build("param", [], { index, name: `p${index}`, type: tensorType(dtype, dims, space) }),
    );
    const results = body(...nodes);
    return makeFn("group", nodes, Array.isArray(results) ? results : [results as Node]);
  });

const product = (
  contract: readonly [readonly number[], readonly number[]] = [[1], [0]],
  batch: readonly [readonly number[], readonly number[]] = [[], []],
) => ({ contract, batch });

/** Fixed noise; indices are small. */
function sample(dtype: DType, count: number, seed: number): number[] {
  return Array.from({ length: count }, (_, i) => {
    const x = Math.sin((i + 1) * 12.9898 + seed * 78.233) * 43758.5453;
    const noise = x - Math.floor(x);
    return roundTo(
      dtype,
      dtype.startsWith("f") || dtype === "bf16"
        ? noise * 4 - 2
        : dtype === "bool"
          ? noise > 0.5
            ? 1
            : 0
          : Math.floor(noise * 9) - (dtypes[dtype].kind === "int" ? 2 : 0),
    );
  });
}

/** The kernel does what the loop level's evaluator says, to the bit without fused multiply-adds and closely with them. */
async function agrees(fn: Fn, given: readonly (readonly number[])[] = [], kernels?: readonly Fn[]): Promise<void> {
  const isHost = (p: Node) => tensorTypeOf(p).space === "host";
  const size = (p: Node) => tensorTypeOf(p).dims.reduce<number>((n, d) => n * (d as number), 1);
  const all = fn.params.map((p, i) => given[i] ?? sample(tensorTypeOf(p).dtype, size(p), i));
  const inputs = all.filter((_, i) => !isHost(fn.params[i] as Node));
  const scalars = all.filter((_, i) => isHost(fn.params[i] as Node)).map((v) => v[0] as number);
  const plain = lower(fn);
  const scheduled = applySchedule(plain, schedule(plain, device.hardware));
  for (const kernel of kernels ?? [plain, scheduled]) {
    const want = evaluateKernel(
      kernel,
      inputs.map((v) => Float64Array.from(v)),
      scalars,
    ).map((v) => Array.from(v as Float64Array, Number));
    for (const d of devices) {
      const got = await run(d, kernel, inputs, scalars, false);
      got.forEach((values, r) =>
        values.forEach((x, i) => {
          if (!Object.is(x, want[r]?.[i]))
            assert.fail(
              `result ${r}[${i}] is ${x}, not ${want[r]?.[i]}, ${kernel === plain ? "unscheduled" : print(kernel)}`,
            );
        }),
      );
    }
    const fused = await run(device, kernel, inputs, scalars);
    fused.forEach((values, r) =>
      values.forEach((x, i) => {
        const expected = want[r]?.[i] as number;
        if (!Object.is(x, expected))
          assert.ok(
            Math.abs(x - expected) <= 1e-4 * Math.max(1, Math.abs(expected)),
            `fused: result ${r}[${i}] is ${x}, not ${expected}`,
          );
      }),
    );
  }
}

test("element-wise chains of any length, with broadcasts, on every dtype", async () => {
  for (const dtype of ["f32", "f64", "i32", "u32"] as const)
    for (const n of [1, 3, 16, 37, 130])
      await agrees(
        group(
          [
            [dtype, [n]],
            [dtype, [n]],
          ],
          (a, b) => [add(mul(a, b), a), sub(a, b)],
        ),
      );
  await agrees(group([["f32", [2]]], (a) => Array.from({ length: 10_000 }).reduce<Node>((x) => add(x, a), a)));
  await agrees(
    group(
      [
        ["f32", [5, 1]],
        ["f32", [1, 9]],
      ],
      (a, b) => mul(expand(a, [5, 9]), expand(b, [5, 9])),
    ),
  );
});

test("mixed dtypes in one loop: casts, comparisons, selections, iota, host scalars", async () => {
  await agrees(
    group(
      [
        ["f32", [40]],
        ["f64", [40]],
        ["i32", [40]],
      ],
      (a, b, c) => {
        const wide = add(cast(a, "f64"), b);
        const mask = build.lt(cast(c, "f32"), a);
        return [
          wide,
          build.where(mask, wide, b),
          cast(mask, "i32"),
          mask,
          build.where(build.lt(wide, b), a, cast(c, "f32")),
          idiv(c, scalarLike(3, [40])),
        ];
      },
    ),
  );
  await agrees(
    group(
      [
        ["f32", [], "host"],
        ["i32", [], "host"],
        ["bf16", [], "host"],
      ],
      (s, t, u) => [
        mul(expand(reshape(s, [1, 1]), [3, 8]), iota("f32", [3, 8], 1)),
        add(expand(reshape(t, [1]), [7]), iota("i32", [7], 0)),
        cast(u, "f32"),
      ],
    ),
    [[1.5], [-3], [0.5]],
  );
});
const scalarLike = (value: number, dims: readonly number[]): Node =>
  expand(
    reshape(
      scalar(value, "i32"),
      dims.map(() => 1),
    ),
    dims,
  );

test("movement: transposes, flips, slices with steps, pads, concatenations, reshapes across rows", async () => {
  for (const dtype of ["f32", "f64", "f16", "u8", "bool", "i64"] as const) {
    await agrees(group([[dtype, [6, 20]]], (x) => permute(x, [1, 0])));
    await agrees(group([[dtype, [5, 13]]], (x) => flip(x, [1])));
    await agrees(group([[dtype, [7, 21]]], (x) => slice(x, [1, 2], [3, 9], [2, 2])));
    await agrees(group([[dtype, [5, 6]]], (x) => pad(x, [1, 2], [0, 3], 1)));
    await agrees(
      group(
        [
          [dtype, [5, 16]],
          [dtype, [5, 7]],
        ],
        (x, y) => concat([x, y, x], 1),
      ),
    );
    await agrees(group([[dtype, [6, 10]]], (x) => reshape(permute(reshape(x, [3, 4, 5]), [2, 0, 1]), [60])));
  }
  await agrees(group([["f32", [4, 4]]], (x) => reshape(pad(flip(x, [0]), [1, 1], [1, 1], 5), [4, 9])));
});

test("reductions of every kind and dtype, over each axis, of any length", async () => {
  for (const [dtype, kinds] of [
    ["f32", ["sum", "max", "min", "prod"]],
    ["f64", ["sum", "max"]],
    ["i32", ["sum", "prod", "max", "min"]],
    ["u32", ["max", "min"]],
    ["bool", ["max", "min"]],
  ] as const)
    for (const kind of kinds)
      for (const n of [1, 5, 8, 64, 77]) {
        await agrees(group([[dtype, [3, n]]], (x) => reduce(kind, x, [1])));
        await agrees(group([[dtype, [n, 9]]], (x) => reduce(kind, x, [0])));
        await agrees(group([[dtype, [2, n, 4]]], (x) => reduce(kind, x, [0, 2])));
      }
  await agrees(group([["f32", [9001]]], (x) => reduce("sum", mul(x, x), [0])));
  await agrees(group([["f32", [4100, 5]]], (x) => reduce("sum", x, [0])));
  await agrees(
    group(
      [
        ["f32", [0, 4]],
        ["f32", [4, 0]],
      ],
      (x, y) => [reduce("max", x, [0]), reduce("sum", y, [1])],
    ),
  );
});

test("several accumulates in one loop, and one inside another's loops", async () => {
  await agrees(group([["f32", [6, 19]]], (x) => [reduce("sum", x, [1]), reduce("max", x, [1])]));
  await agrees(
    group([["f32", [6, 19]]], (x) => {
      const m = reduce("max", x, [1]);
      return reduce("sum", sub(x, expand(reshape(m, [6, 1]), [6, 19])), [1]);
    }),
  );
  await agrees(group([["f32", [6, 16]]], (x) => sub(x, expand(reshape(reduce("sum", x, [1]), [6, 1]), [6, 16]))));
});

test("products of matrices in all sizes, batched, with prologue and epilogue", async () => {
  for (const [m, n, k] of [
    [1, 1, 5],
    [1, 40, 9],
    [2, 5, 3],
    [5, 1, 8],
    [13, 19, 10],
    [24, 16, 48],
    [31, 45, 17],
    [96, 8, 32],
  ] as const) {
    await agrees(
      group(
        [
          ["f32", [m, k]],
          ["f32", [k, n]],
        ],
        (a, b) => dot(a, b, product()),
      ),
    );
    await agrees(
      group(
        [
          ["f64", [m, k]],
          ["f64", [k, n]],
        ],
        (a, b) => dot(a, b, product()),
      ),
    );
    await agrees(
      group(
        [
          ["f32", [m, k]],
          ["bf16", [n, k]],
          ["f32", [n]],
        ],
        (a, b, c) =>
          max(
            add(dot(mul(a, a), cast(b, "f32"), product([[1], [1]])), expand(reshape(c, [1, n]), [m, n])),
            expand(reshape(scalar(0, "f32"), [1, 1]), [m, n]),
          ),
      ),
    );
  }
  await agrees(
    group(
      [
        ["f32", [2, 3, 13, 8]],
        ["f32", [2, 3, 17, 8]],
      ],
      (a, b) =>
        dot(
          a,
          b,
          product(
            [[3], [3]],
            [
              [0, 1],
              [0, 1],
            ],
          ),
        ),
    ),
  );
  await agrees(
    group(
      [
        ["f32", [4, 5, 24]],
        ["f32", [4, 5, 16]],
      ],
      (a, b) =>
        dot(
          a,
          b,
          product([
            [0, 1],
            [0, 1],
          ]),
        ),
    ),
  );
  await agrees(
    group(
      [
        ["i32", [9, 12]],
        ["i32", [12, 10]],
      ],
      (a, b) => dot(a, b, product()),
    ),
  );
});

test("gathers, scatters whose updates meet, random bits, functions of doubles", async () => {
  const indices = [2, 0, 5, -1, 2, 2];
  await agrees(
    group(
      [
        ["f32", [6, 9]],
        ["i32", [6]],
      ],
      (x, i) => gather(x, i, 0),
    ),
    [sample("f32", 54, 1), indices],
  );
  await agrees(
    group(
      [
        ["f32", [6, 8]],
        ["i32", [6]],
        ["f32", [6, 8]],
      ],
      (x, i, u) => scatter(x, i, u, 0, "add"),
    ),
    [sample("f32", 48, 1), indices, sample("f32", 48, 2)],
  );
  await agrees(
    group(
      [
        ["f32", [5]],
        ["i32", [6]],
        ["f32", [6]],
      ],
      (x, i, u) => scatter(x, i, u, 0, "set"),
    ),
    [sample("f32", 5, 1), indices, sample("f32", 6, 2)],
  );
  await agrees(
    group(
      [
        ["u32", [2]],
        ["u32", []],
      ],
      (k, o) => [random(k, o, [37]), random(k, o, [16], 2)],
    ),
    [[0x13198a2e, 0x03707344], [2 ** 32 - 3]],
  );
  await agrees(
    group(
      [
        ["f64", [10]],
        ["f32", [10]],
      ],
      (a, b) => [tanh(exp(a)), exp(b)],
    ),
  );
});

/** Options that may or may not be legal for a kernel, chosen by numbers. */
function optionOf(kernel: Fn, [kind, a, b, c]: readonly [number, number, number, number]): Option {
  const nests = nestsOf(kernel);
  const nest = a % nests.length;
  const { order } = (nests[nest] as (typeof nests)[0]).attr;
  const range = order[b % Math.max(order.length, 1)] ?? 0;
  const options: readonly Option[] = [
    { option: "split", nest, range, factor: 2 + (c % 3) },
    { option: "peel", nest, range, at: 1 + (c % 7) },
    { option: "pad", nest, range, multiple: 2 + 2 * (c % 3) },
    {
      option: "reorder",
      nest,
      order: [...order.slice(c % order.length || 0), ...order.slice(0, c % order.length || 0)],
    },
    { option: "unroll", nest, range },
    { option: "vectorize", nest, range, lanes: c % 2 === 0 ? 4 : 2 },
    { option: "accumulateParts", nest, range, parts: c % 2 === 0 ? 8 : 4, lanes: c % 3 === 0 ? 4 : 1 },
    { option: "accumulateBlocks", nest, range, block: 2 + (c % 5) },
    { option: "stage", nest, operand: c % 2 === 0 ? 0 : 1, range, tile: 2 + (c % 5) },
    { option: "collapse", nest, ranges: order.slice(b % Math.max(order.length, 1)).slice(0, 2) },
  ];
  return options[kind % options.length] as Option;
}

const groups: readonly (() => Fn)[] = [
  () =>
    group(
      [
        ["f32", [7, 12]],
        ["f32", [12, 9]],
        ["f32", [9]],
      ],
      (a, b, c) => add(dot(a, b, product()), expand(reshape(c, [1, 9]), [7, 9])),
    ),
  () => group([["f32", [5, 24]]], (x) => [reduce("sum", x, [1]), reduce("max", mul(x, x), [1])]),
  () =>
    group(
      [
        ["f64", [6, 10]],
        ["f16", [10, 6]],
      ],
      (x, y) => add(x, cast(permute(y, [1, 0]), "f64")),
    ),
  () =>
    group(
      [
        ["f32", [4, 9]],
        ["i32", [5]],
      ],
      (x, i) => pad(gather(x, i, 0), [0, 1], [1, 2], 3),
    ),
  () => group([["i32", [24, 8]]], (x) => reduce("sum", x, [0])),
  () =>
    group(
      [
        ["u8", [30]],
        ["bool", [30]],
      ],
      (x, y) => [flip(x, [0]), build.where(y, cast(x, "f32"), cast(y, "f32"))],
    ),
];

test("any legal list of options gives the evaluator's result", async () => {
  const number = integer({ min: 0, max: 999 });
  const choices = array(tuple(number, number, number, number), { minLength: 1, maxLength: 8 });
  let applied = 0;
  await assertProperty(
    asyncProperty(nat(groups.length - 1), choices, async (which, picks) => {
      const fn = (groups[which] as () => Fn)();
      let kernel = lower(fn);
      for (const pick of picks) {
        try {
          kernel = apply(kernel, optionOf(kernel, pick));
          applied++;
        } catch (error) {
          if (!(error instanceof ScheduleError)) throw error;
        }
      }
      await agrees(fn, [], [kernel]);
    }),
    { numRuns: 150, seed: 7 },
  );
  assert.ok(applied > 150, `${applied} options were legal`);
});

test("bounds that are constants keep NaN and the sign of zero", async () => {
  const values = [NaN, 0, -0, 1, -1, Infinity, -Infinity, 2, 1e-45];
  for (const dtype of ["f32", "f64"] as const)
    for (const bound of [0, -0, 1, -1, Infinity, NaN])
      for (const op of [max, build.min])
        await agrees(
          group([[dtype, [36]]], (x) => {
            const limit = expand(reshape(scalar(bound, dtype), [1]), [36]);
            return [op(x, limit), op(limit, x)];
          }),
          [Array.from({ length: 36 }, (_, i) => values[i % 9] as number)],
        );
});

test("the inner loop of a product is loads, repeats and fused multiply-adds", async () => {
  const plain = lower(
    group(
      [
        ["f32", [96, 64]],
        ["f32", [64, 64]],
      ],
      (a, b) => dot(a, b, product()),
    ),
  );
  const { code } = render(applySchedule(plain, schedule(plain, device.hardware)), device.hardware);
  const module = (await wabt()).readWasm(code as Uint8Array, { simd: true, relaxed_simd: true, threads: true });
  const loops = module.toText({}).split(/\n\s*loop/);
  const inner = (loops.find((text) => text.includes("relaxed_madd")) ?? "").split(/\n\s*end/)[0] ?? "";
  const count = (op: RegExp) => inner.match(op)?.length ?? 0;
  // Four steps of k: each 2 vectors of b, 6 elements of a, 12 products.
  assert.deepEqual(
    [count(/v128\.load /g) + count(/v128\.load\n/g), count(/v128\.load32_splat/g), count(/relaxed_madd/g)],
    [8, 24, 48],
  );
  assert.deepEqual([count(/i32\.mul/g), count(/i32\.add/g), count(/i32\.sub/g)], [0, 2, 1]);
});

test("a row of a product has the same bits alone, in a batch and among columns that make a vector", async () => {
  const [k, n] = [50, 21];
  const [a, b] = [sample("f32", 13 * k, 1), sample("f32", k * n, 2)];
  const rows = async (m: number, columns: number): Promise<number[]> => {
    const plain = lower(
      group(
        [
          ["f32", [m, k]],
          ["f32", [k, columns]],
        ],
        (x, y) => dot(x, y, product()),
      ),
    );
    const some = Array.from(
      { length: k * columns },
      (_, i) => b[Math.floor(i / columns) * n + (i % columns)] as number,
    );
    const [got] = await run(device, applySchedule(plain, schedule(plain, device.hardware)), [a.slice(0, m * k), some]);
    return (got as number[]).slice(0, columns);
  };
  const whole = await rows(13, n);
  for (const m of [1, 2, 6]) assert.deepEqual(await rows(m, n), whole);
  for (const columns of [1, 3, 7]) assert.deepEqual(await rows(13, columns), whole.slice(0, columns));
});
