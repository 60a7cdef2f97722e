/** Algebra that changes no result, not the sign of a zero and not whether it is NaN: `x + 0` stays where it could turn −0 into
 *  0, `x · 0` where it could hide a NaN. The one exception is `x²` for `pow(x, 2)`, which is rounded once, better than a power.
 *
 *      %1 = const() {value: 1}                    return %0
 *      %2 = expand(reshape(%1))          →
 *      %3 = neg(neg(mul(%2, %0)))
 */
import { extended } from "../autodiff/marks.ts";
import { addDim, dimEqual, dimsEqual, mulDim } from "../ir/dim.ts";
import { type DType, dtypes, isFloat, roundTo } from "../ir/dtype.ts";
import type { Fn } from "../ir/fn.ts";
import { dimsOf, dtypeOf, type Node, type NodeOf, type Op } from "../ir/node.ts";
import { rewrite, type Rules } from "../ir/rewrite.ts";
import { typeEqual } from "../ir/type.ts";
import type { ElementwiseOp } from "../ops/elementwise.ts";
import {
  abs,
  add,
  build,
  call,
  cast,
  div,
  expand,
  fill,
  flip,
  mul,
  neg,
  not,
  pad,
  permute,
  reshape,
  scalar,
  slice,
  sub,
  where,
} from "../ops/build.ts";
import { define, ops } from "../ops/table.ts";
import type { Pass } from "./pass.ts";

export interface SimplifyOptions {
  /** Remove stopGradient and alias: once nothing is differentiated any more. */
  readonly dropMarks?: boolean;
}

/** The pass. Functions that are called are simplified too. */
export function simplify({ dropMarks = false }: SimplifyOptions = {}): Pass {
  const done = new WeakMap<Fn, Fn>();
  const run = (fn: Fn): Fn => {
    const known = done.get(fn);
    if (known) return known;
    const simple = rewrite(fn, guarded({ ...rules, ...(dropMarks ? marks : {}), call: callee }));
    done.set(fn, simple);
    done.set(simple, simple);
    // Bodies are absorbed after this, when their own turn comes.
    const smaller = extended.get(fn);
    if (smaller && simple !== fn) extended.set(simple, run(smaller));
    return simple;
  };
  const callee = (n: NodeOf<"call">): Node | undefined => {
    const body = run(n.attr.fn);
    return body === n.attr.fn ? undefined : call(body, n.src);
  };
  return { name: dropMarks ? "simplify-and-drop-marks" : "simplify", run };
}

/** Lets a rule replace a node only by one of the same type: a scalar in host space is not one on the device. */
function guarded(all: Rules): Rules {
  const entries = Object.entries(all) as [Op, (n: Node) => Node | undefined][];
  return Object.fromEntries(
    entries.map(([op, rule]) => [
      op,
      (n: Node) => {
        const better = rule(n);
        return better && typeEqual(better.type, n.type) ? better : undefined;
      },
    ]),
  );
}

type Rule<O extends Op = Op> = (n: NodeOf<O>) => Node | undefined;

const source = (n: { readonly src: readonly Node[] }, i = 0): Node => n.src[i] as Node;

/** The one value of every element, where it is a constant under reshapes and expansions. */
function splat(n: Node): number | undefined {
  let at = n;
  while (at.op === "expand" || at.op === "reshape") at = source(at);
  return at.op === "const" ? roundTo(at.attr.dtype, at.attr.value) : undefined;
}

const is = (n: Node, value: number): boolean => {
  const x = splat(n);
  return x !== undefined && Object.is(x, value);
};

const filled = (like: Node, value: number, dtype: DType = dtypeOf(like)): Node =>
  fill(scalar(value, dtype), dimsOf(like));
const whole = (n: Node): boolean => !isFloat(dtypeOf(n));

/** An element-wise op of constants is a constant. */
function fold(n: Node): Node | undefined {
  const entry = define(n.op);
  const values = n.src.map(splat);
  const wide = [n, ...n.src].some((s) => dtypeOf(s) === "i64" || dtypes[dtypeOf(s)].role === "block");
  if (entry.role !== "elementwise" || n.op === "bitcast" || wide || values.includes(undefined)) return undefined;
  const value = roundTo(dtypeOf(n), entry.scalar(values as number[], dtypeOf(n.src.at(-1) as Node), dtypeOf(n)));
  return filled(n, value);
}

const commutative: ReadonlySet<Op> = new Set<Op>(["add", "mul", "max", "min", "eq", "and", "or", "xor"]);

/** Constants stand on the right, so that the rules look for them only there. */
function constantLast(n: Node): Node | undefined {
  const [a, b] = n.src;
  if (!a || !b || !commutative.has(n.op) || splat(a) === undefined || splat(b) !== undefined) return undefined;
  return build(n.op as "add", [b, a], {}) as Node;
}

const same = (n: Node): Node | undefined => (n.src[0] === n.src[1] ? n.src[0] : undefined);

const algebra: { readonly [O in ElementwiseOp]?: Rule<O> } = {
  neg: ({ src: [x] }) => (x?.op === "neg" ? source(x) : undefined),
  not: ({ src: [x] }) => (x?.op === "not" ? source(x) : undefined),
  // Of an unsigned integer the negative wraps to another size.
  abs: ({ src: [x] }) =>
    x?.op === "abs" ? x : x?.op === "neg" && dtypes[dtypeOf(x)].kind !== "uint" ? abs(source(x)) : undefined,
  add: (n) => {
    const [a, b] = n.src as readonly [Node, Node];
    if (is(b, -0) || (whole(b) && is(b, 0))) return a;
    return b.op === "neg" ? sub(a, source(b)) : undefined;
  },
  sub: (n) => {
    const [a, b] = n.src as readonly [Node, Node];
    if (is(b, 0)) return a;
    if (a === b && whole(a)) return filled(a, 0);
    return b.op === "neg" ? add(a, source(b)) : undefined;
  },
  mul: (n) => {
    const [a, b] = n.src as readonly [Node, Node];
    if (is(b, 1)) return a;
    if (whole(b) && is(b, 0)) return b;
    return is(b, -1) && dtypes[dtypeOf(a)].kind !== "uint" ? neg(a) : undefined;
  },
  div: (n) => {
    const [a, b] = n.src as readonly [Node, Node];
    const by = splat(b);
    if (by === 1) return a;
    return by !== undefined && hasExactReciprocal(by) ? mul(a, filled(b, 1 / by)) : undefined;
  },
  idiv: (n) => (whole(source(n)) && is(source(n, 1), 1) ? source(n) : undefined),
  mod: (n) => (whole(source(n)) && is(source(n, 1), 1) ? filled(source(n), 0) : undefined),
  pow: (n) => {
    const [a, b] = n.src as readonly [Node, Node];
    const by = splat(b);
    if (by === 0) return filled(a, 1);
    if (by === 1) return a;
    if (by === 2) return mul(a, a);
    return by === -1 ? div(filled(a, 1), a) : undefined;
  },
  max: (n) => same(n),
  min: (n) => same(n),
  lt: (n) => (same(n) ? filled(source(n), 0, "bool") : undefined),
  eq: (n) => (same(n) && whole(source(n)) ? filled(source(n), 1, "bool") : undefined),
  and: (n) => same(n) ?? (is(source(n, 1), 0) ? source(n, 1) : isOnes(source(n, 1)) ? source(n) : undefined),
  or: (n) => same(n) ?? (is(source(n, 1), 0) ? source(n) : isOnes(source(n, 1)) ? source(n, 1) : undefined),
  xor: (n) => (same(n) ? filled(source(n), 0) : is(source(n, 1), 0) ? source(n) : undefined),
  shl: (n) => (is(source(n, 1), 0) ? source(n) : undefined),
  shr: (n) => (is(source(n, 1), 0) ? source(n) : undefined),
  where: (n) => {
    const [c, a, b] = n.src as readonly [Node, Node, Node];
    const known = splat(c);
    if (known !== undefined) return known ? a : b;
    if (a === b) return a;
    if (c.op === "not") return where(source(c), b, a);
    if (dtypeOf(a) !== "bool") return undefined;
    return is(a, 1) && is(b, 0) ? c : is(a, 0) && is(b, 1) ? not(c) : undefined;
  },
  cast: (n) => {
    const x = source(n);
    if (n.attr.dtype === dtypeOf(x)) return x;
    return x.op === "cast" && skips(dtypeOf(source(x)), x.attr.dtype, n.attr.dtype)
      ? cast(source(x), n.attr.dtype)
      : undefined;
  },
  bitcast: (n) => (n.attr.dtype === dtypeOf(source(n)) ? source(n) : undefined),
};

/** Whether dividing by x is multiplying by 1 / x: a power of two, its reciprocal a normal f32. */
const hasExactReciprocal = (x: number): boolean =>
  Math.abs(x) >= 2 ** -126 &&
  Math.abs(x) <= 2 ** 126 &&
  Math.log2(Math.abs(x)) % 1 === 0 &&
  2 ** Math.log2(Math.abs(x)) === Math.abs(x);

const isOnes = (n: Node): boolean => is(n, dtypes[dtypeOf(n)].kind === "bool" ? 1 : roundTo(dtypeOf(n), -1));

/** Bits of the significand, for integers of the magnitude. */
const precision: Readonly<Record<DType, number>> = {
  bool: 1,
  u8: 8,
  i8: 7,
  u16: 16,
  i16: 15,
  i32: 31,
  u32: 32,
  i64: 63,
  f16: 11,
  bf16: 8,
  f32: 24,
  f64: 53,
  q8_0: 0,
  q4_0: 0,
  q4_k: 0,
};

/** Whether a cast from a by way of b to c is the cast from a to c: b holds every value of a, and the kinds convert alike. */
function skips(a: DType, b: DType, c: DType): boolean {
  if (a === "bool") return dtypes[b].role !== "block";
  if (dtypes[a].role === "block" || b === "bool" || !holds(b, a)) return false;
  return isFloat(c) || isFloat(a) === isFloat(b);
}

function holds(b: DType, a: DType): boolean {
  if (a === b) return true;
  if (isFloat(a)) return isFloat(b) && precision[b] > precision[a] && !(a === "bf16" && b === "f16");
  if (isFloat(b)) return precision[b] >= precision[a];
  const signed = dtypes[a].kind === "int";
  return precision[b] >= precision[a] && (!signed || dtypes[b].kind === "int");
}

/** The places of axes that are longer than 1, in the order of the result. */
const moved = ({ src, attr: { axes } }: NodeOf<"permute">): number[] =>
  axes.filter((a) => dimsOf(src[0] as Node)[a] !== 1);
const ascending = (axes: readonly number[]): boolean => axes.every((a, i) => i === 0 || (axes[i - 1] as number) < a);

const movement: Rules = {
  reshape: (n) => {
    const x = source(n);
    if (dimsEqual(dimsOf(x), n.attr.dims)) return x;
    if (x.op === "reshape") return reshape(source(x), n.attr.dims);
    return x.op === "expand" ? refilled(n) : undefined;
  },
  permute: (n) => {
    const x = source(n);
    const { axes } = n.attr;
    if (ascending(axes)) return x;
    if (x.op === "permute")
      return permute(
        source(x),
        axes.map((a) => x.attr.axes[a] as number),
      );
    return refilled(n) ?? (ascending(moved(n)) ? reshape(x, dimsOf(n)) : undefined);
  },
  expand: (n) => {
    const x = source(n);
    if (dimsEqual(dimsOf(x), n.attr.dims)) return x;
    return x.op === "expand" ? expand(source(x), n.attr.dims) : undefined;
  },
  pad: (n) => {
    const x = source(n);
    const { low, high, value } = n.attr;
    if ([...low, ...high].every((d) => d === 0)) return x;
    if (x.op !== "pad" || !Object.is(roundTo(dtypeOf(x), x.attr.value), roundTo(dtypeOf(x), value))) return undefined;
    const inner = x.attr;
    return pad(
      source(x),
      low.map((d, a) => addDim(d, inner.low[a] ?? 0)),
      high.map((d, a) => addDim(d, inner.high[a] ?? 0)),
      value,
    );
  },
  slice: (n) => {
    const x = source(n);
    const { start, size, step } = n.attr;
    if (
      dimsEqual(size, dimsOf(x)) &&
      start.every((d) => d === 0) &&
      (step.every((s) => s === 1) || size.every((d) => d === 0 || d === 1))
    )
      return x;
    if (x.op !== "slice") return refilled(n);
    const inner = x.attr;
    // Nothing may be taken from past the end, which the inner slice's step would leap over.
    const from = start.map((d, a) => (size[a] === 0 ? 0 : addDim(inner.start[a] ?? 0, mulDim(d, inner.step[a] ?? 1))));
    return slice(
      source(x),
      from,
      size,
      step.map((s, a) => s * (inner.step[a] ?? 1)),
    );
  },
  flip: (n) => {
    const x = source(n);
    const axes = n.attr.axes.filter((a) => dimsOf(x)[a] !== 1);
    if (axes.length === 0) return x;
    if (x.op === "flip") {
      const once = [...axes, ...x.attr.axes]
        .filter((a) => axes.includes(a) !== x.attr.axes.includes(a))
        .sort((a, b) => a - b);
      return once.length === 0 ? source(x) : flip(source(x), once);
    }
    return refilled(n);
  },
  concat: (n) => {
    if (n.src.length === 1) return source(n);
    const filledParts = n.src.filter((s) => dimsOf(s)[n.attr.axis] !== 0);
    if (filledParts.length === 0 || filledParts.length === n.src.length) return undefined;
    return filledParts.length === 1 ? filledParts[0] : (build("concat", filledParts, n.attr) as Node);
  },
  reduce: (n) => {
    const x = source(n);
    // A float sum begins at 0, so that of one −0 is 0.
    const trivial = n.attr.axes.every((a) => dimEqual(dimsOf(x)[a] ?? 0, 1)) && !(n.attr.kind === "sum" && !whole(x));
    return trivial ? reshape(x, dimsOf(n)) : undefined;
  },
  item: (n) => (source(n).op === "tuple" ? source(source(n), n.attr.index) : undefined),
};

/** Elements that are all one constant may be moved about at will. */
function refilled(n: Node): Node | undefined {
  const value = splat(source(n));
  return value === undefined || dtypes[dtypeOf(n)].role === "block" ? undefined : filled(n, value);
}

const marks: Rules = {
  stopGradient: (n) => source(n),
  alias: (n) => source(n),
  named: (n) => source(n),
};

const rules: Rules = {
  ...Object.fromEntries(
    (Object.keys(ops) as (keyof typeof ops)[])
      .filter((op) => ops[op].role === "elementwise")
      .map((op) => [
        op,
        (n: Node) => fold(n) ?? constantLast(n) ?? (algebra[op as ElementwiseOp] as Rule | undefined)?.(n),
      ]),
  ),
  ...movement,
};
