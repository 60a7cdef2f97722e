/** Element-wise primitives. Broadcasting is made explicit before they are built, so a rule never sees unequal shapes. `g` is
 *  the cotangent, `y` the op's own result. `scalar` is the reference meaning in doubles; the caller rounds to the dtype. */
import { DTypeError } from "../errors.ts";
import { byteSize, type DType, dtypes, isFloat, roundEven } from "../ir/dtype.ts";
import { dtypeOf, type Node, type NodeOf, type Op, tensorTypeOf } from "../ir/node.ts";
import { tensorType } from "../ir/type.ts";
import {
  type Binary,
  add,
  and,
  cast,
  constantLike,
  cos,
  div,
  eq,
  exp,
  idiv,
  log,
  mul,
  neg,
  or,
  pow,
  sign,
  sin,
  sub,
  where,
  zerosLike,
  type Unary,
} from "./build.ts";
import { erf as erfOf } from "./erf.ts";
import { type OpDef, type OpFamily, requireKinds, requireSameDims, type Scalar, type Vjp } from "./define.ts";

const float = ["float"];
const number = ["float", "int", "uint"];
const integer = ["int", "uint"];
const bits = ["int", "uint", "bool"];
const any = ["float", "int", "uint", "bool"];

interface Rule<O extends Op> {
  readonly kinds: readonly string[];
  readonly scalar: Scalar;
  readonly flops?: number;
  /** The dtype of the result where it is not the sources'. */
  readonly result?: DType;
  readonly vjp?: Vjp<O>;
}

const op = <O extends Op>(name: O, arity: number, { kinds, scalar, flops = 1, result, vjp }: Rule<O>): OpDef<O> => ({
  role: "elementwise",
  arity,
  infer: (src) => {
    const dtype = requireKinds(name, src, kinds);
    return tensorType(result ?? dtype, requireSameDims(name, src));
  },
  scalar,
  flops,
  ...(vjp ? { vjp } : {}),
});

type One = (g: Node, x: Node, y: Node) => Node | null;
type Two = (g: Node, a: Node, b: Node, y: Node) => readonly [Node | null, Node | null];
const one =
  <O extends Op>(rule: One): Vjp<O> =>
  (g, y: NodeOf<O>) => [rule(g, y.src[0] as Node, y as Node)];
const two =
  <O extends Op>(rule: Two): Vjp<O> =>
  (g, y: NodeOf<O>) =>
    rule(g, y.src[0] as Node, y.src[1] as Node, y as Node);

/** 1 where `a` alone is the extremum `y`, ½ at a tie, 0 elsewhere. */
const share = (a: Node, b: Node, y: Node): Node =>
  where(eq(a, y), where(eq(a, b), constantLike(a, 0.5), constantLike(a, 1)), zerosLike(a));

const nan = Number.NaN;

/** C's rules rather than JavaScript's: 1 to any power is 1, and so is −1 to an infinite one. */
const powOf = (a: number, b: number): number =>
  a === 1 || (a === -1 && Math.abs(b) === Number.POSITIVE_INFINITY) ? 1 : a ** b;

/** The integer of a dtype nearest towards zero, clamped to its range; NaN gives 0, but true for bool. */
function saturate(x: number, dtype: DType): number {
  const { kind, bits } = dtypes[dtype];
  if (kind === "bool") return x !== 0 ? 1 : 0;
  if (Number.isNaN(x)) return 0;
  const [lo, hi] = kind === "uint" ? [0, 2 ** bits - 1] : [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1];
  return Math.min(Math.max(Math.trunc(x), lo), hi);
}

/** Python's and PyTorch's rules: the quotient is rounded down, the remainder has the divisor's sign. Integer division by zero gives 0. */
const floorDivide: Scalar = ([a, b], dtype) =>
  isFloat(dtype) ? Math.floor((a as number) / (b as number)) : b === 0 ? 0 : Math.floor((a as number) / (b as number));
const floorMod: Scalar = ([a, b], dtype) => {
  if (b === 0) return isFloat(dtype) ? nan : 0;
  const r = (a as number) % (b as number);
  return r !== 0 && r < 0 !== (b as number) < 0 ? r + (b as number) : r;
};

export const elementwise = {
  neg: op("neg", 1, { kinds: number, scalar: ([x]) => -(x as number), vjp: one((g) => neg(g)) }),
  abs: op("abs", 1, { kinds: number, scalar: ([x]) => Math.abs(x as number), vjp: one((g, x) => mul(g, sign(x))) }),
  sign: op("sign", 1, { kinds: number, scalar: ([x]) => Math.sign(x as number) }),
  sqrt: op("sqrt", 1, {
    kinds: float,
    flops: 4,
    scalar: ([x]) => Math.sqrt(x as number),
    vjp: one((g, _, y) => div(g, add(y, y))),
  }),
  rsqrt: op("rsqrt", 1, {
    kinds: float,
    flops: 6,
    scalar: ([x]) => 1 / Math.sqrt(x as number),
    vjp: one((g, x, y) => mul(mul(g, constantLike(x, -0.5)), div(y, x))),
  }),
  exp: op("exp", 1, {
    kinds: float,
    flops: 12,
    scalar: ([x]) => Math.exp(x as number),
    vjp: one((g, _, y) => mul(g, y)),
  }),
  log: op("log", 1, { kinds: float, flops: 14, scalar: ([x]) => Math.log(x as number), vjp: one((g, x) => div(g, x)) }),
  sin: op("sin", 1, {
    kinds: float,
    flops: 16,
    scalar: ([x]) => Math.sin(x as number),
    vjp: one((g, x) => mul(g, cos(x))),
  }),
  cos: op("cos", 1, {
    kinds: float,
    flops: 16,
    scalar: ([x]) => Math.cos(x as number),
    vjp: one((g, x) => neg(mul(g, sin(x)))),
  }),
  tanh: op("tanh", 1, {
    kinds: float,
    flops: 18,
    scalar: ([x]) => Math.tanh(x as number),
    vjp: one((g, x, y) => mul(g, sub(constantLike(x, 1), mul(y, y)))),
  }),
  erf: op("erf", 1, {
    kinds: float,
    flops: 20,
    scalar: ([x]) => erfOf(x as number),
    vjp: one((g, x) => mul(mul(g, constantLike(x, 2 / Math.sqrt(Math.PI))), exp(neg(mul(x, x))))),
  }),
  floor: op("floor", 1, { kinds: float, scalar: ([x]) => Math.floor(x as number) }),
  round: op("round", 1, {
    kinds: float,
    scalar: ([x]) => (Number.isFinite(x) ? roundEven(x as number) : (x as number)),
  }),
  not: op("not", 1, { kinds: bits, scalar: ([x], dtype) => (dtype === "bool" ? (x === 0 ? 1 : 0) : ~(x as number)) }),

  add: op("add", 2, { kinds: number, scalar: ([a, b]) => (a as number) + (b as number), vjp: two((g) => [g, g]) }),
  sub: op("sub", 2, { kinds: number, scalar: ([a, b]) => (a as number) - (b as number), vjp: two((g) => [g, neg(g)]) }),
  mul: op("mul", 2, {
    kinds: number,
    scalar: ([a, b], dtype) => (isFloat(dtype) ? (a as number) * (b as number) : Math.imul(a as number, b as number)),
    vjp: two((g, a, b) => [mul(g, b), mul(g, a)]),
  }),
  div: op("div", 2, {
    kinds: float,
    flops: 4,
    scalar: ([a, b]) => (a as number) / (b as number),
    vjp: two((g, _, b, y) => [div(g, b), neg(mul(div(g, b), y))]),
  }),
  idiv: op("idiv", 2, { kinds: number, flops: 8, scalar: floorDivide }),
  mod: op("mod", 2, { kinds: number, flops: 8, scalar: floorMod, vjp: two((g, a, b) => [g, neg(mul(g, idiv(a, b)))]) }),
  pow: op("pow", 2, {
    kinds: float,
    flops: 30,
    scalar: ([a, b]) => powOf(a as number, b as number),
    vjp: two((g, a, b, y) => [
      // b·a^(b−1), with 0 where b = 0 so that pow(0, 0) has no NaN; ln 0 is only reached where b is negative.
      where(eq(b, zerosLike(b)), zerosLike(a), mul(g, mul(b, pow(a, sub(b, constantLike(b, 1)))))),
      mul(
        g,
        where(or(eq(y, zerosLike(y)), and(eq(a, zerosLike(a)), eq(b, zerosLike(b)))), zerosLike(y), mul(y, log(a))),
      ),
    ]),
  }),
  max: op("max", 2, {
    kinds: any,
    scalar: ([a, b]) => Math.max(a as number, b as number),
    vjp: two((g, a, b, y) => [mul(g, share(a, b, y)), mul(g, share(b, a, y))]),
  }),
  min: op("min", 2, {
    kinds: any,
    scalar: ([a, b]) => Math.min(a as number, b as number),
    vjp: two((g, a, b, y) => [mul(g, share(a, b, y)), mul(g, share(b, a, y))]),
  }),
  lt: op("lt", 2, { kinds: any, result: "bool", scalar: ([a, b]) => ((a as number) < (b as number) ? 1 : 0) }),
  eq: op("eq", 2, { kinds: any, result: "bool", scalar: ([a, b]) => (a === b ? 1 : 0) }),
  and: op("and", 2, { kinds: bits, scalar: ([a, b]) => (a as number) & (b as number) }),
  or: op("or", 2, { kinds: bits, scalar: ([a, b]) => (a as number) | (b as number) }),
  xor: op("xor", 2, { kinds: bits, scalar: ([a, b]) => (a as number) ^ (b as number) }),
  shl: op("shl", 2, {
    kinds: integer,
    scalar: ([a, b]) => ((b as number) >>> 0 < 32 ? (a as number) << (b as number) : 0),
  }),
  shr: op("shr", 2, {
    kinds: integer,
    scalar: ([a, b], dtype) =>
      dtype === "u32"
        ? (b as number) >>> 0 < 32
          ? (a as number) >>> (b as number)
          : 0
        : (a as number) >> ((b as number) >>> 0 < 32 ? (b as number) : 31),
  }),

  where: {
    role: "elementwise",
    arity: 3,
    infer: (src) => {
      const [condition, a, b] = src as [Node, Node, Node];
      if (dtypeOf(condition) !== "bool")
        throw new DTypeError(`where: expected a bool condition, got ${dtypeOf(condition)}`);
      if (dtypeOf(a) !== dtypeOf(b))
        throw new DTypeError(`where: the branches' dtypes differ: ${dtypeOf(a)} and ${dtypeOf(b)}`, {
          hint: "cast one of them",
        });
      return tensorType(dtypeOf(a), requireSameDims("where", src));
    },
    scalar: ([c, a, b]) => (c ? (a as number) : (b as number)),
    flops: 1,
    vjp: (g, { src: [c] }) => [null, where(c as Node, g, zerosLike(g)), where(c as Node, zerosLike(g), g)],
  },
  cast: {
    role: "elementwise",
    arity: 1,
    infer: ([x], { dtype }) => tensorType(dtype, tensorTypeOf(x as Node).dims),
    scalar: ([x], from, to) => (isFloat(from) && !isFloat(to) ? saturate(x as number, to) : (x as number)),
    flops: 1,
    vjp: (g, { src: [x] }) => [isFloat(dtypeOf(x as Node)) && isFloat(dtypeOf(g)) ? cast(g, dtypeOf(x as Node)) : null],
  },
  bitcast: {
    role: "elementwise",
    arity: 1,
    infer: ([x], { dtype }) => {
      const from = tensorTypeOf(x as Node);
      if (byteSize(from.dtype, 1) !== byteSize(dtype, 1) || dtypes[dtype].block !== 1)
        throw new DTypeError(`bitcast: ${from.dtype} and ${dtype} differ in size`);
      return tensorType(dtype, from.dims);
    },
    scalar: () => nan,
    flops: 0,
  },
} satisfies OpFamily<ElementwiseOp>;

export type ElementwiseOp = Unary | Binary | "where" | "cast" | "bitcast";
