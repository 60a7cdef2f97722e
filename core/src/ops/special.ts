/** Special functions as ops: each has a meaning in doubles, a derivative that holds where a composition's would not (near 0, at
 *  the ends, far out), and what it is made of on devices (`kernel/math/special.ts`). */
import * as made from "../kernel/math/special.ts";
import type { Node } from "../ir/node.ts";
import { tensorType } from "../ir/type.ts";
import { add, build, constantLike, div, exp, mul, neg, sqrt, sub } from "./build.ts";
import { type RareFamily, requireKinds, requireSameDims } from "./define.ts";
import { erfc as erfcOf } from "./erfc.ts";
import { load } from "./table.ts";

type Unary =
  | "expm1"
  | "log1p"
  | "exp2"
  | "log2"
  | "log10"
  | "tan"
  | "asin"
  | "acos"
  | "atan"
  | "sinh"
  | "cosh"
  | "asinh"
  | "acosh"
  | "atanh"
  | "erfc";
export type SpecialOp = Unary | "atan2";

const none = Object.freeze({});
const unary = (op: Unary) => (x: Node) => build(op, [x], none) as Node;

export const expm1 = unary("expm1");
export const log1p = unary("log1p");
export const exp2 = unary("exp2");
export const log2 = unary("log2");
export const log10 = unary("log10");
export const tan = unary("tan");
export const asin = unary("asin");
export const acos = unary("acos");
export const atan = unary("atan");
export const sinh = unary("sinh");
export const cosh = unary("cosh");
export const asinh = unary("asinh");
export const acosh = unary("acosh");
export const atanh = unary("atanh");
export const erfc = unary("erfc");
export const atan2 = (y: Node, x: Node): Node => build("atan2", [y, x], none) as Node;

const square = (x: Node): Node => mul(x, x);
const one = (x: Node): Node => constantLike(x, 1);
const times = (g: Node, factor: number): Node => mul(g, constantLike(g, factor));
/** 1 − x² and x² − 1 without cancelling near 1. */
const below1 = (x: Node): Node => mul(sub(one(x), x), add(one(x), x));
const above1 = (x: Node): Node => mul(sub(x, one(x)), add(x, one(x)));

const entry = (
  op: Unary,
  scalar: (x: number) => number,
  flops: number,
  slope: (g: Node, x: Node, y: Node) => Node,
  expand: (x: Node) => Node,
) => ({
  role: "elementwise" as const,
  arity: 1,
  flops,
  attrs: {},
  infer: (src: readonly Node[]) => tensorType(requireKinds(op, src, ["float"]), requireSameDims(op, src)),
  scalar: ([x]: readonly number[]) => scalar(x as number),
  vjp: (g: Node, y: Node) => [slope(g, y.src[0] as Node, y)],
  expand,
});

export const special = {
  expm1: entry("expm1", Math.expm1, 20, (g, _, y) => mul(g, add(y, one(y))), made.expm1),
  log1p: entry("log1p", Math.log1p, 20, (g, x) => div(g, add(x, one(x))), made.log1p),
  exp2: entry(
    "exp2",
    (x) => 2 ** x,
    40,
    (g, _, y) => times(mul(g, y), Math.LN2),
    made.exp2,
  ),
  log2: entry("log2", Math.log2, 60, (g, x) => times(div(g, x), Math.LOG2E), made.log2),
  log10: entry("log10", Math.log10, 60, (g, x) => times(div(g, x), Math.LOG10E), made.log10),
  tan: entry("tan", Math.tan, 24, (g, _, y) => mul(g, add(one(y), square(y))), made.tan),
  asin: entry("asin", Math.asin, 24, (g, x) => div(g, sqrt(below1(x))), made.asin),
  acos: entry("acos", Math.acos, 24, (g, x) => neg(div(g, sqrt(below1(x)))), made.acos),
  atan: entry("atan", Math.atan, 24, (g, x) => div(g, add(one(x), square(x))), made.atan),
  sinh: entry("sinh", Math.sinh, 40, (g, x) => mul(g, cosh(x)), made.sinh),
  cosh: entry("cosh", Math.cosh, 40, (g, x) => mul(g, sinh(x)), made.cosh),
  asinh: entry("asinh", Math.asinh, 40, (g, x) => div(g, sqrt(add(square(x), one(x)))), made.asinh),
  acosh: entry("acosh", Math.acosh, 40, (g, x) => div(g, sqrt(above1(x))), made.acosh),
  atanh: entry("atanh", Math.atanh, 40, (g, x) => div(g, below1(x)), made.atanh),
  erfc: entry("erfc", erfcOf, 60, (g, x) => times(mul(g, exp(neg(square(x)))), -2 / Math.sqrt(Math.PI)), made.erfc),
  /** The angle of the point (x, y). Its gradient at the origin is NaN, as nothing is near. */
  atan2: {
    role: "elementwise",
    arity: 2,
    flops: 40,
    attrs: {},
    infer: (src) => tensorType(requireKinds("atan2", src, ["float"]), requireSameDims("atan2", src)),
    scalar: ([y, x]) => Math.atan2(y as number, x as number),
    vjp: (g, { src }) => {
      const [y, x] = src as [Node, Node];
      const scaled = div(g, add(square(x), square(y)));
      return [mul(scaled, x), neg(mul(scaled, y))];
    },
    expand: made.atan2,
  },
} satisfies RareFamily<SpecialOp>;

load(special);
