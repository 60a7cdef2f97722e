/** `while`: a body that is run on its own result as long as a test of it holds, however often that is. Its derivative is forward mode
 *  only: backwards, every step would have to be kept, and nobody knows how many there are. */
import { type Batch, mapFn } from "../autodiff/batch.ts";
import { forward } from "../autodiff/forward.ts";
import { bits, type Memo, once } from "../autodiff/memo.ts";
import { zeroOf } from "../autodiff/region.ts";
import { DTypeError, ShapeError, TraceError, VerifyError } from "../errors.ts";
import { evaluate, type Evaluate } from "../interpreter/evaluate.ts";
import { copy, instantiate } from "../ir/copy.ts";
import { dimText } from "../ir/dim.ts";
import { isFloat } from "../ir/dtype.ts";
import { type Fn, makeFn } from "../ir/fn.ts";
import { type Attrs, dimsOf, dtypeOf, type Node, tensorTypeOf } from "../ir/node.ts";
import { within } from "../ir/scope.ts";
import { type Type, typeEqual, typeText } from "../ir/type.ts";
import { build, expand, item, reduce, reshape } from "../ops/build.ts";
import type { Pull, Push } from "../ops/define.ts";
import { newScope } from "../ops/table.ts";
import { chosen } from "./cond.ts";
import { dependent, settledCarry } from "./reach.ts";

export const whileOp = (src: readonly Node[], attr: Attrs["while"]): Node => build("while", src, attr);

export function inferWhile(src: readonly Node[], { test, body, consts }: Attrs["while"]): Type {
  for (const fn of [test, body]) {
    if (fn.params.length !== src.length)
      throw new VerifyError(`while ${fn.name}: expected ${fn.params.length} sources, got ${src.length}`);
    fn.params.forEach((p, i) => {
      const { dtype, dims } = tensorTypeOf(src[i] as Node);
      if (!typeEqual(p.type, { dtype, dims }))
        throw new ShapeError(
          `while ${fn.name}: source ${i} should be ${typeText(p.type)}, got ${typeText((src[i] as Node).type)}`,
        );
    });
  }
  const [verdict] = test.results;
  const { dtype, dims } = tensorTypeOf(verdict as Node);
  if (test.results.length !== 1 || dtype !== "bool" || dims.length > 0)
    throw new DTypeError(
      `while: the test should give bool[], got ${test.results.map((r) => typeText(r.type)).join(", ")}`,
    );
  const carry = body.params.slice(consts);
  if (body.results.length !== carry.length || !carry.every((p, k) => typeEqual(p.type, (body.results[k] as Node).type)))
    throw new ShapeError(
      `while: the carry ${carry.map((p) => typeText(p.type)).join(", ")} comes back as ${body.results.map((r) => typeText(r.type)).join(", ")}`,
    );
  return { tuple: body.results.map((r) => r.type) };
}

export const evaluateWhile: Evaluate<"while"> = ({ attr: { test, body, consts } }, src, exact) => {
  const fixed = src.slice(0, consts);
  let carry = src.slice(consts);
  while (Number(evaluate(test, [...fixed, ...carry], { exact })[0]?.data[0]) !== 0)
    carry = evaluate(body, [...fixed, ...carry], { exact });
  return carry;
};

export const pullWhile: Pull<"while"> = (y, _, needed) => {
  if (!needed.some((n, i) => n && isFloat(dtypeOf(y.src[i] as Node)))) return [];
  throw new TraceError("whileLoop: it has no reverse derivative, as nobody knows how many steps there are to keep", {
    hint: "use jvp, or scan with a fixed number of steps",
  });
};

const joint: Memo<Attrs["while"]> = new WeakMap();

export const pushWhile: Push<"while"> = (y, tangents) => {
  const { body, consts } = y.attr;
  const ofConsts = tangents.slice(0, consts).map((t, i) => t !== null && isFloat(dtypeOf(y.src[i] as Node)));
  const start = tangents.slice(consts).map(Boolean);
  const moving = settledCarry(body, ofConsts, start, []).map((m, k) => m && isFloat(dtypeOf(body.results[k] as Node)));
  const both = once(joint, body, `${y.attr.test.id} ${consts} ${bits(ofConsts)} ${bits(moving)}`, () =>
    jointLoop(y.attr, ofConsts, moving),
  );
  const given = y.src.map((s, i) => tangents[i] ?? zeroOf(s));
  const fixed = y.src.slice(0, consts);
  const carry = y.src.slice(consts);
  const made = whileOp(
    [
      ...fixed,
      ...fixed.flatMap((_, i) => (ofConsts[i] ? [given[i] as Node] : [])),
      ...carry,
      ...carry.flatMap((_, k) => (moving[k] ? [given[consts + k] as Node] : [])),
    ],
    both,
  );
  let next = carry.length;
  return {
    results: carry.map((_, k) => item(made, k)),
    tangents: moving.map((m) => (m ? item(made, next++) : null)),
  };
};

function jointLoop({ test, body, consts }: Attrs["while"], ofConsts: readonly boolean[], moving: readonly boolean[]) {
  const make = (
    fn: Fn,
    results: (values: readonly Node[], wrt: readonly Node[], moved: readonly Node[]) => Node[],
  ): Fn => {
    const scope = newScope();
    return within(scope, () => {
      let index = 0;
      const param = (p: Node): Node => scope.make("param", [], { index: index++, name: "", type: p.type }) as Node;
      const part = (ps: readonly Node[], flags: readonly boolean[]) => {
        const values = ps.map(param);
        return { values, tangents: ps.map((p, i) => (flags[i] ? param(p) : null)) };
      };
      const all = fn.params as readonly Node[];
      const parts = [part(all.slice(0, consts), ofConsts), part(all.slice(consts), moving)];
      const values = parts.flatMap((p) => p.values);
      const tangents = parts.flatMap((p) => p.tangents);
      const params = parts.flatMap((p) => [...p.values, ...p.tangents.filter((t) => t !== null)]);
      const made = results(
        values,
        values.filter((_, i) => tangents[i]),
        tangents.filter((t) => t !== null),
      );
      return makeFn(`${fn.name}.joint`, params as Fn["params"][number][], made);
    });
  };
  return {
    test: make(test, (values) => instantiate(test, values)),
    body: make(body, (values, wrt, moved) => {
      const results = copy(body.results, new Map(body.params.map((p, i) => [p as Node, values[i] as Node])));
      const pushed = forward(results, wrt, moved);
      const extra = results.flatMap((r, k) => (moving[k] ? [pushed.tangents[k] ?? zeroOf(r)] : []));
      return [...pushed.roots, ...extra];
    }),
    consts: consts + ofConsts.filter(Boolean).length,
  };
}

const mappedLoops: Memo<Attrs["while"]> = new WeakMap();

/** Where the test differs between examples, all go on until all are done; one that is done keeps its value. */
export const batchWhile: Batch<"while"> = (y, { has, x, full, size }) => {
  const { test, body, consts } = y.attr;
  const ofConsts = has.slice(0, consts);
  let mapped = settledCarry(body, ofConsts, has.slice(consts), []);
  const differs = dependent(test, [...ofConsts, ...mapped])[0] === true;
  if (differs) mapped = mapped.map(() => true);
  const flags = [...ofConsts, ...mapped];
  const loop = once(mappedLoops, body, `${test.id} ${bits(flags)} ${differs} ${dimText(size)}`, () => {
    const all = mapFn(
      body,
      flags,
      size,
      mapped.map((m) => !m),
    );
    if (!differs) return { test: mapFn(test, flags, size, [true]), body: all, consts };
    const each = mapFn(test, flags, size);
    return { test: anyOf(each), body: guarded(each, all, consts), consts };
  });
  const src = y.src.map((_, i) => (i >= consts && mapped[i - consts] ? full(i) : x(i)));
  const made = whileOp(src, loop);
  const parts = mapped.map((m, k) => {
    const own = item(made, k);
    return m ? own : expand(reshape(own, [1, ...dimsOf(own)]), [size, ...dimsOf(own)]);
  });
  return build("tuple", parts, {});
};

function over(fn: Fn, results: (params: readonly Node[]) => readonly Node[]): Fn {
  const scope = newScope();
  return within(scope, () => {
    const params = fn.params.map((p, index) => scope.make("param", [], { index, name: "", type: p.type }));
    return makeFn(fn.name, params, results(params));
  });
}

const anyOf = (each: Fn): Fn => over(each, (params) => [reduce("max", instantiate(each, params)[0] as Node, [0])]);

const guarded = (each: Fn, body: Fn, consts: number): Fn =>
  over(body, (params) => {
    const [goesOn] = instantiate(each, params) as [Node];
    return instantiate(body, params).map((r, k) => chosen(goesOn, r, params[consts + k] as Node));
  });
