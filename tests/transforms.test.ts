/** vmap, jvp and what is made of them: against loops, finite differences and the reverse mode's own numbers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  grad,
  hessian,
  hvp,
  jacobian,
  jit,
  jvp,
  key,
  matmul,
  random,
  region,
  softmax,
  type Tensor,
  tensor,
  tree,
  vmap,
} from "sinan";
import { backwardOrZero } from "../core/src/autodiff/backward.ts";
import { mapFn } from "../core/src/autodiff/batch.ts";
import { forward } from "../core/src/autodiff/forward.ts";
import { evaluate } from "../core/src/interpreter/evaluate.ts";
import { type Value, valueOf } from "../core/src/interpreter/value.ts";
import { type Fn, makeFn, nodesOf } from "../core/src/ir/fn.ts";
import { dtypeOf, type Node } from "../core/src/ir/node.ts";
import { print } from "../core/src/ir/print.ts";
import { within } from "../core/src/ir/scope.ts";
import { isTuple } from "../core/src/ir/type.ts";
import { trace } from "../core/src/tensor/trace.ts";
import { argumentsFor, arbitrarySample, assertSameValues } from "./arbitrary/graphs.ts";
import { differentiableOps } from "./arbitrary/ops.ts";
import { onEachDevice } from "./devices.ts";

const stacked = (values: readonly Value[]): Value => {
  const [first] = values as [Value];
  return valueOf(
    first.dtype,
    [values.length, ...first.dims],
    values.flatMap(({ data }) => [...data].map(Number)),
  );
};
const row = ({ dtype, dims, data }: Value, i: number): Value => {
  const size = dims.slice(1).reduce((a, b) => a * b, 1);
  return valueOf(dtype, dims.slice(1), [...data].slice(i * size, (i + 1) * size).map(Number));
};

test("a mapped graph gives what a loop gives, for every op and any choice of mapped arguments", () => {
  fc.assert(
    fc.property(arbitrarySample({ maxNodes: 10 }), fc.nat({ max: 7 }), fc.nat(), ({ fn, args }, mask, seed) => {
      const size = 3;
      const has = fn.params.map((_, i) => Boolean((mask >> i) & 1));
      fc.pre(has.some(Boolean));
      const each = Array.from({ length: size }, (_, k) =>
        argumentsFor(fn, seed + k).map((v, i) => (has[i] ? v : (args[i] as Value))),
      );
      const whole = fn.params.map((_, i) => (has[i] ? stacked(each.map((a) => a[i] as Value)) : (args[i] as Value)));
      const made = evaluate(mapFn(fn, has, size), whole);
      each.forEach((one, k) =>
        assertSameValues(
          made.map((v) => row(v, k)),
          evaluate(fn, one),
          () => print(fn),
        ),
      );
    }),
    { numRuns: 400 },
  );
});

const isFinite = ({ data }: Value): boolean => [...data].every((v) => Number.isFinite(Number(v)));

/** ẏ of a function as a function of its arguments and their tangents, and x̄ as one of its arguments and ȳ. */
function derivatives(fn: Fn): { pushed: Fn; pulled: Fn } {
  const [first] = fn.params as readonly Node[];
  assert.ok(first);
  return within(first.scope, () => {
    const extra = (n: Node, index: number) => first.scope.make("param", [], { index, name: "", type: n.type });
    const tangents = fn.params.map((p, i) => extra(p as Node, fn.params.length + i));
    const cotangents = fn.results.map((r, i) => extra(r, fn.params.length + i));
    const flat = (n: readonly (Node | null)[], like: readonly Node[]) =>
      n.map((x, i) => x ?? first.scope.make("sub", [like[i] as Node, like[i] as Node], {}));
    const params = fn.params as readonly Node[];
    return {
      pushed: makeFn(
        "pushed",
        [...fn.params, ...tangents],
        flat(forward(fn.results, params, tangents).tangents, fn.results),
      ),
      pulled: makeFn("pulled", [...fn.params, ...cotangents], backwardOrZero(fn.results, cotangents, params)),
    };
  });
}

const inner = (a: readonly Value[], b: readonly Value[]): number =>
  a.reduce((sum, v, i) => sum + [...v.data].reduce((s: number, x, k) => s + Number(x) * Number(b[i]?.data[k]), 0), 0);

test("⟨ȳ, ẏ⟩ = ⟨x̄, ẋ⟩, and ẏ is the finite difference", () => {
  fc.assert(
    fc.property(
      arbitrarySample({ dtypes: ["f64"], ops: differentiableOps, maxNodes: 8 }),
      fc.nat(),
      ({ fn, args }, seed) => {
        fc.pre([...fn.params, ...fn.results].every((n) => dtypeOf(n) === "f64"));
        const exact = { exact: true };
        const y = evaluate(fn, args, exact);
        fc.pre(y.every(({ data }) => [...data].every((v) => Math.abs(Number(v)) < 1e3)));
        // A cotangent of 0 times a value that is not finite is NaN, though no result has it.
        const inside = nodesOf(fn).filter((n) => !isTuple(n.type) && dtypeOf(n) === "f64");
        fc.pre(evaluate(makeFn("inside", fn.params, inside), args, exact).every(isFinite));
        const { pushed, pulled } = derivatives(fn);
        const dx = argumentsFor(fn, seed);
        const dy = evaluate(pushed, [...args, ...dx], exact);
        const cy = y.map((v, i) =>
          valueOf(
            "f64",
            v.dims,
            [...v.data].map((_, k) => Math.sin(k + i)),
          ),
        );
        const cx = evaluate(pulled, [...args, ...cy], exact);
        const [left, right] = [inner(cy, dy), inner(cx, dx)];
        fc.pre(Math.abs(left) < 1e5);
        assert.ok(Math.abs(left - right) <= 1e-8 * (1 + Math.abs(left)), `${left} ≠ ${right}\n${print(fn)}`);
        const h = 1e-6;
        const at = (s: number) =>
          evaluate(
            fn,
            args.map((v, i) =>
              valueOf(
                "f64",
                v.dims,
                [...v.data].map((a, k) => Number(a) + s * Number(dx[i]?.data[k])),
              ),
            ),
            exact,
          );
        const [up, down] = [at(h), at(-h)];
        dy.forEach(({ data }, i) => {
          data.forEach((d: number | bigint, k: number) => {
            const slope = (Number(up[i]?.data[k]) - Number(down[i]?.data[k])) / (2 * h);
            // A maximum of equal values has no derivative: its slopes to both sides differ.
            const right = (Number(up[i]?.data[k]) - Number(y[i]?.data[k])) / h;
            fc.pre(Math.abs(right - slope) <= 1e-2 * (1 + Math.abs(slope)));
            assert.ok(
              Math.abs(slope - Number(d)) <= 1e-3 * (1 + Math.abs(slope)),
              `${String(d)} ≠ ${slope}\n${print(fn)}`,
            );
          });
        });
      },
    ),
    { numRuns: 300 },
  );
});

const near = async (actual: Tensor, expected: Tensor, within = 1e-5): Promise<void> => {
  assert.deepEqual(actual.shape, expected.shape);
  const [a, e] = [await actual.data(), await expected.data()];
  a.forEach((v: number | bigint, i: number) =>
    assert.ok(
      Math.abs(Number(v) - Number(e[i])) <= within * (1 + Math.abs(Number(e[i]))),
      `${String(v)} is not ${String(e[i])}`,
    ),
  );
};

interface Net {
  readonly a: Tensor;
  readonly b: Tensor;
}
const net = (): Net => ({ a: random.normal(key(1), [3, 4]), b: random.normal(key(2), [4, 2]) });
const apply = (m: Net, x: Tensor): Tensor => matmul(matmul(x, m.a).tanh(), m.b);
const loss = (m: Net, x: Tensor): Tensor => apply(m, x).square().sum();

onEachDevice("per-example gradients are those of a loop, jitted or not", async () => {
  const m = net();
  const xs = random.normal(key(3), [5, 3]);
  const each = (p: Net, x: Tensor) => vmap((one: Tensor) => grad(loss)(p, one))(x);
  const lazy = each(m, xs);
  const jitted = jit(each)(m, xs);
  for (let i = 0; i < 5; i++) {
    const one = grad(loss)(m, xs.at(i));
    for (const k of ["a", "b"] as const) {
      await near(lazy[k].at(i), one[k]);
      await near(jitted[k].at(i), one[k]);
    }
  }
});

onEachDevice("vmap nests, maps any axis in and out, and shares what is not mapped", async () => {
  const a = random.normal(key(4), [2, 3]);
  const b = random.normal(key(5), [4, 3]);
  const dots = vmap((x: Tensor) => vmap((y: Tensor) => x.mul(y).sum(), { in: [0] })(b), { in: [0] })(a);
  await near(dots, matmul(a, b.transpose()));
  await near(
    vmap((x: Tensor, y: Tensor) => x.add(y), { in: [1, null], out: 1 })(a, tensor([1, 2])),
    a.add(tensor([[1], [2]])),
  );
  await near(vmap((x: Tensor) => softmax(x))(a), softmax(a, -1));
  await near(grad((x: Tensor) => vmap((r: Tensor) => r.square().sum())(x).sum())(a), a.mul(2));
});

onEachDevice("vmap goes through regions, gathers and keys", async () => {
  const block = region((w: Tensor, x: Tensor) => x.mul(w).tanh());
  const xs = random.normal(key(6), [3, 4]);
  const w = random.normal(key(7), [4]);
  await near(jit((x: Tensor) => vmap((r: Tensor) => block(w, block(w, r)))(x))(xs), xs.mul(w).tanh().mul(w).tanh());
  const picks = tensor(Int32Array.of(2, 0, 3));
  await near(vmap((r: Tensor, i: Tensor) => r.take(i))(xs, picks), await gathered(xs, [2, 0, 3]));
  const keys = random.split(key(8), 3);
  const stackedKeys = tensor(
    Uint32Array.from((await Promise.all(keys.map((k) => k.data()))).flatMap((d) => [...d].map(Number))),
    { shape: [3, 2] },
  );
  const draws = vmap((k: Tensor) => random.uniform(k, [4]))(stackedKeys);
  for (let i = 0; i < 3; i++) await near(draws.at(i), random.uniform(keys[i] as Tensor, [4]), 0);
});

const gathered = async (x: Tensor, at: readonly number[]): Promise<Tensor> => {
  const rows = (await x.toArray()) as number[][];
  return tensor(at.map((c, r) => rows[r]?.[c] ?? Number.NaN));
};

onEachDevice("jacobian and hessian of known functions", async () => {
  const x = tensor([1, 2, 3]);
  await near(
    jacobian((v: Tensor) => v.square())(x),
    tensor([
      [2, 0, 0],
      [0, 4, 0],
      [0, 0, 6],
    ]),
  );
  await near(
    hessian((v: Tensor) => v.mul(v).mul(v).sum())(x),
    tensor([
      [6, 0, 0],
      [0, 12, 0],
      [0, 0, 18],
    ]),
  );
  await near(
    jacobian(() => tensor([1, 2]))(x),
    tensor([
      [0, 0, 0],
      [0, 0, 0],
    ]),
  );
  const m = net();
  const v = tree.map((p) => p.mul(0.5), m);
  const direct = hvp((p: Net) => loss(p, random.normal(key(9), [2, 3])))(m, v);
  const h = 1e-2;
  const shifted = (s: number) =>
    grad((p: Net) => loss(p, random.normal(key(9), [2, 3])))(tree.map((p, d) => p.add(d.mul(s)), m, v));
  const [up, down] = [shifted(h), shifted(-h)];
  for (const k of ["a", "b"] as const) await near(direct[k], up[k].sub(down[k]).div(2 * h), 5e-3);
});

test("the jvp of an MLP has no reverse sweep", () => {
  const m = net();
  const types = [...tree.tensors(m).map(({ tensor: t }) => t.type), { dtype: "f32", dims: [5, 3] } as const];
  const { fn } = trace("jvpMlp", types, ([a, b, x]) => {
    const p = { a, b } as Net;
    return jvp((q: Net) => apply(q, x as Tensor), [p], [p])[1];
  });
  // x·a, and in the tangent x·ȧ, ·b and h·ḃ. The primal's last product falls away, and a reverse sweep would have more.
  assert.equal(nodesOf(fn).filter((n) => n.op === "dot").length, 4, print(fn));
});
