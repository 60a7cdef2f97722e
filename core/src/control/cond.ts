/** `cond`: one of two functions of the same arguments, chosen by a value of the device.
 *
 *  Backwards, the branch that was taken is taken again, with what it saved; a place for the other's is filled with zeros. A predicate
 *  that differs between the examples of a `vmap` makes it a `where` of both. */
import { backward } from "../autodiff/backward.ts";
import { type Batch, mapFn } from "../autodiff/batch.ts";
import { forward } from "../autodiff/forward.ts";
import { joint } from "../autodiff/joint.ts";
import { extended } from "../autodiff/marks.ts";
import { bits, type Memo, once } from "../autodiff/memo.ts";
import { pulled, zeroOf } from "../autodiff/region.ts";
import { split } from "../autodiff/split.ts";
import { DTypeError, ShapeError, VerifyError } from "../errors.ts";
import { evaluate, type Evaluate } from "../interpreter/evaluate.ts";
import { instantiate } from "../ir/copy.ts";
import { type Dim, dimText } from "../ir/dim.ts";
import { isFloat } from "../ir/dtype.ts";
import { type Fn, makeFn } from "../ir/fn.ts";
import { type Attrs, dimsOf, dtypeOf, type Node, tensorTypeOf } from "../ir/node.ts";
import { within } from "../ir/scope.ts";
import { type Type, typeEqual, typeText } from "../ir/type.ts";
import { build, call, expand, fill, item, reshape, scalar, where } from "../ops/build.ts";
import type { Pull, Push } from "../ops/define.ts";
import { newScope } from "../ops/table.ts";
import { dependent } from "./reach.ts";

export const cond = (predicate: Node, args: readonly Node[], attr: Attrs["cond"]): Node =>
  build("cond", [predicate, ...args], attr);

export function inferCond(src: readonly Node[], { yes, no }: Attrs["cond"]): Type {
  const [predicate, ...args] = src as [Node, ...Node[]];
  const { dtype, dims } = tensorTypeOf(predicate);
  if (dtype !== "bool" || dims.length > 0)
    throw new DTypeError(`cond: expected a predicate bool[], got ${typeText(predicate.type)}`, {
      hint: "compare, then reduce with any() or all()",
    });
  for (const fn of [yes, no]) {
    if (fn.params.length !== args.length)
      throw new VerifyError(`cond ${fn.name}: expected ${fn.params.length} arguments, got ${args.length}`);
    fn.params.forEach((p, i) => {
      const [want, got] = [typeText(p.type), typeText(withoutSpace(args[i] as Node))];
      if (want !== got) throw new ShapeError(`cond ${fn.name}: argument ${i} should be ${want}, got ${got}`);
    });
  }
  const agree = yes.results.length === no.results.length;
  if (!agree || !yes.results.every((r, j) => typeEqual(r.type, (no.results[j] as Node).type)))
    throw new ShapeError(
      `cond: the branches give ${yes.results.map((r) => typeText(r.type)).join(", ")} and ${no.results.map((r) => typeText(r.type)).join(", ")}`,
      { hint: "both must give the same shapes and dtypes" },
    );
  return { tuple: yes.results.map((r) => r.type) };
}

function withoutSpace(n: Node): Type {
  const { dtype, dims } = tensorTypeOf(n);
  return { dtype, dims };
}

export const evaluateCond: Evaluate<"cond"> = ({ attr: { yes, no } }, [predicate, ...args], exact) =>
  evaluate(Number(predicate?.data[0]) === 0 ? no : yes, args, { exact });

interface Halved {
  readonly saving: Attrs["cond"];
  readonly backward: Attrs["cond"];
  /** Results of the branches; behind them stand what both may save. */
  readonly residuals: number;
}

const halved: Memo<Halved> = new WeakMap();

export const pullCond: Pull<"cond"> = (y, cotangents, needed) => {
  const [predicate, ...args] = y.src as [Node, ...Node[]];
  const { yes, no } = y.attr;
  const want = args.map((a, i) => needed[i + 1] === true && isFloat(dtypeOf(a)));
  if (!want.includes(true)) return [];
  const present = yes.results.map((_, j) => Boolean(cotangents[j]));
  const both = once(halved, yes, `${no.id} ${bits(present)} ${bits(want)}`, () => halve(y.attr, present, want));
  const saved = cond(predicate, args, both.saving);
  const residuals = Array.from({ length: both.residuals }, (_, k) => item(saved, yes.results.length + k));
  const given = cotangents.filter((g): g is Node => Boolean(g));
  const grads = cond(predicate, [...args, ...residuals, ...given], both.backward);
  let next = 0;
  return [null, ...want.map((w) => (w ? item(grads, next++) : null))];
};

function halve({ yes, no }: Attrs["cond"], present: readonly boolean[], want: readonly boolean[]): Halved {
  const types = yes.results.filter((_, j) => present[j]).map((r) => r.type);
  const [a, b] = [yes, no].map((fn) =>
    split(fn, types, (params, results, given) => {
      let next = 0;
      const cotangents = present.map((p) => (p ? (given[next++] as Node) : null));
      return pulled(results, cotangents, params, want, backward);
    }),
  ) as [ReturnType<typeof split>, ReturnType<typeof split>];
  // A place serves both where they save values of one type.
  const places = [...a.residuals];
  const free = places.map((t) => typeText(t));
  const ofNo = b.residuals.map((t) => {
    const at = free.indexOf(typeText(t));
    if (at >= 0) free[at] = "";
    return at >= 0 ? at : places.push(t) - 1;
  });
  const ofYes = a.residuals.map((_, k) => k);
  const saving = (fn: Fn, own: readonly number[]): Fn =>
    rebuilt(fn, [], (made) => {
      const results = made.slice(0, yes.results.length);
      const residuals = places.map((t, k) => {
        const at = own.indexOf(k);
        return at >= 0 ? (made[yes.results.length + at] as Node) : zeroOfType(t);
      });
      return [...results, ...residuals];
    });
  const back = (half: typeof a, own: readonly number[]): Fn => {
    const scope = newScope();
    return within(scope, () => {
      const all = [...yes.params.map((p) => p.type), ...places, ...types];
      const params = all.map((type, index) => scope.make("param", [], { index, name: "", type }));
      const at = yes.params.length;
      const residuals = own.map((k) => params[at + k] as Node);
      const grads = instantiate(half.backward, [
        ...params.slice(0, at),
        ...residuals,
        ...params.slice(at + places.length),
      ]);
      const results = want.flatMap((w, i) => {
        if (!w) return [];
        const flow = half.flows[i] as number;
        return [flow >= 0 ? (grads[flow] as Node) : zeroOf(params[i] as Node)];
      });
      return makeFn(half.backward.name, params, results);
    });
  };
  const both = { yes: saving(a.forward, ofYes), no: saving(b.forward, ofNo) };
  extended.set(both.yes, yes);
  extended.set(both.no, no);
  return {
    saving: both,
    backward: { yes: back(a, ofYes), no: back(b, ofNo) },
    residuals: places.length,
  };
}

function zeroOfType(type: Type): Node {
  const { dtype, dims } = type as { readonly dtype: ReturnType<typeof dtypeOf>; readonly dims: readonly Dim[] };
  return fill(scalar(0, dtype), dims);
}

/** A function with other results, made from its own. */
function rebuilt(fn: Fn, extra: readonly Type[], results: (made: readonly Node[]) => readonly Node[]): Fn {
  const scope = newScope();
  return within(scope, () => {
    const types = [...fn.params.map((p) => p.type), ...extra];
    const params = types.map((type, index) => scope.make("param", [], { index, name: "", type }));
    return makeFn(fn.name, params, results(instantiate(fn, params.slice(0, fn.params.length))));
  });
}

export const pushCond: Push<"cond"> = (y, tangents) => {
  const [predicate, ...args] = y.src as [Node, ...Node[]];
  const moves = tangents.slice(1).map(Boolean);
  const given = tangents.slice(1).filter((t): t is Node => t !== null);
  const { yes, no } = y.attr;
  if (given.length === 0)
    return { results: yes.results.map((_, j) => item(y, j)), tangents: yes.results.map(() => null) };
  const both = cond(predicate, [...args, ...given], {
    yes: joint(yes, moves, forward),
    no: joint(no, moves, forward),
  });
  return {
    results: yes.results.map((_, j) => item(both, 2 * j)),
    tangents: yes.results.map((r, j) => (isFloat(dtypeOf(r)) ? item(both, 2 * j + 1) : null)),
  };
};

const mapped: Memo<Fn> = new WeakMap();

export const batchCond: Batch<"cond"> = (y, { has, x, size }) => {
  const { yes, no } = y.attr;
  const [differs = false, ...flags] = has;
  const args = flags.map((_, i) => x(i + 1));
  const carries = [yes, no].map((fn) => dependent(fn, flags));
  const plain = yes.results.map((_, j) => !differs && !carries[0]?.[j] && !carries[1]?.[j]);
  const body = (fn: Fn) =>
    once(mapped, fn, `${bits(flags)} ${bits(plain)} ${dimText(size)}`, () => mapFn(fn, flags, size, plain));
  if (!differs) {
    const made = cond(x(0), args, { yes: body(yes), no: body(no) });
    const whole = (n: Node): Node => expand(reshape(n, [1, ...dimsOf(n)]), [size, ...dimsOf(n)]);
    const parts = plain.map((p, j) => (p ? whole(item(made, j)) : item(made, j)));
    return build("tuple", parts, {});
  }
  const [a, b] = [call(body(yes), args), call(body(no), args)];
  const parts = yes.results.map((_, j) => chosen(x(0), item(a, j), item(b, j)));
  return build("tuple", parts, {});
};

/** By a predicate of one value for each row of the first axis. */
export function chosen(predicate: Node, a: Node, b: Node): Node {
  const dims = dimsOf(a);
  return where(expand(reshape(predicate, [dims[0] as Dim, ...dims.slice(1).map(() => 1)]), dims), a, b);
}
