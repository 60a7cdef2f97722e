/** The element-wise ops on whole 128-bit parts, where SIMD has them; the others go lane by lane through `scalarOp`. */

import { type DType, dtypeOf, type Node, type Op } from "sinan/south";
import { bitcastLanes, castLanes } from "./convert.ts";
import {
  constant,
  extract,
  isWide,
  type Lanes,
  type Machine,
  narrow,
  narrowMask,
  pack,
  partWise,
  single,
  splat,
  uniform,
  vector,
  widen,
  widenMask,
} from "./lanes.ts";
import type { OpName } from "./opcodes.ts";
import { scalarOp } from "./scalar-ops.ts";
import { constantOf, type Value } from "./value.ts";

/** The value of an element-wise node whose sources have these lanes; undefined where no rule knows the op. */
export function elementwise(machine: Machine, node: Node, args: readonly Lanes[]): Lanes | undefined {
  const result = dtypeOf(node);
  const [first, second] = args as [Lanes, Lanes];
  if (node.op === "cast") return castLanes(machine, first, result);
  if (node.op === "bitcast") return bitcastLanes(machine, first, result);
  return elementwiseOf(machine, node.op, (node.op === "where" ? second : first).dtype, result, args);
}

/** @param dtype  of the operands */
function elementwiseOf(
  machine: Machine,
  op: Op,
  dtype: DType,
  result: DType,
  args: readonly Lanes[],
): Lanes | undefined {
  const scalar = (values: readonly Value[]): Value | undefined => scalarOp(machine.graph, op, dtype, values);
  if (args.every((a) => !a.vector)) {
    const value = scalar(args.map(single));
    return value && uniform(result, value);
  }
  const whole = vectorOp(machine, op, dtype, result, args);
  if (whole) return whole;
  const lanes = Array.from({ length: machine.width }, (_, i) => scalar(args.map((a) => extract(machine, a, i))));
  return lanes.every((v) => v !== undefined) ? pack(machine, result, lanes) : undefined;
}

function vectorOp(machine: Machine, op: Op, dtype: DType, result: DType, args: readonly Lanes[]): Lanes | undefined {
  if (op === "where") return select(machine, args as [Lanes, Lanes, Lanes]);
  if (dtype === "f32" || dtype === "f64") return floatOp(machine, op, dtype, args);
  if (dtype === "bool") return boolOp(machine, op, args);
  if (dtype === "i32" || dtype === "u32") return integerOp(machine, op, dtype, result, args);
  return undefined;
}

function select(machine: Machine, [condition, a, b]: readonly [Lanes, Lanes, Lanes]): Lanes {
  const { graph } = machine;
  const { dtype } = a;
  if (!condition.vector) return partWise(machine, dtype, [a, b], (yes, no) => graph.select(yes, no, single(condition)));
  const masks = isWide(dtype) ? widenMask(machine, condition.parts) : condition.parts;
  const [yes, no] = [splat(machine, a), splat(machine, b)];
  return vector(
    dtype,
    masks.map((mask, i) => graph.op("v128.bitselect", [yes.parts[i] as Value, no.parts[i] as Value, mask])),
  );
}

function floatOp(machine: Machine, op: Op, dtype: "f32" | "f64", args: readonly Lanes[]): Lanes | undefined {
  const { graph } = machine;
  const shape = dtype === "f32" ? "f32x4" : "f64x2";
  const repeated = (value: number): Value => graph.op(`${shape}.splat`, [constant(graph, dtype, value)]);
  const same = (part: (...v: readonly Value[]) => Value): Lanes => partWise(machine, dtype, args, part);
  switch (op) {
    case "neg":
    case "abs":
    case "sqrt":
    case "floor":
      return same((a) => graph.op(`${shape}.${op}`, [a]));
    case "round":
      return same((a) => graph.op(`${shape}.nearest`, [a]));
    case "add":
    case "sub":
    case "mul":
    case "div":
      return same((a, b) => graph.op(`${shape}.${op}`, [a, b]));
    case "max":
    case "min":
      return extremum(machine, op, dtype, args as [Lanes, Lanes]);
    case "lt":
    case "eq": {
      const { parts } = same((a, b) => graph.op(`${shape}.${op}`, [a, b]));
      return vector("bool", dtype === "f64" ? narrowMask(machine, parts) : parts);
    }
    case "rsqrt":
      return same((a) => graph.op(`${shape}.div`, [repeated(1), graph.op(`${shape}.sqrt`, [a])]));
    case "sign":
      return same((a) => {
        const x = a;
        const below = graph.op("v128.bitselect", [repeated(-1), x, graph.op(`${shape}.lt`, [x, repeated(0)])]);
        return graph.op("v128.bitselect", [repeated(1), below, graph.op(`${shape}.gt`, [x, repeated(0)])]);
      });
    case "idiv": {
      const divide = (a: Value, b: Value): Value => graph.op("f64x2.floor", [graph.op("f64x2.div", [a, b])]);
      if (dtype === "f64") return same((a, b) => divide(a, b));
      const [x, y] = args.map((a) =>
        widen(machine, splat(machine, a).parts, (p) => graph.op("f64x2.promote_low_f32x4", [p])),
      ) as [Value[], Value[]];
      const quotients = x.map((p, i) => divide(p, y[i] as Value));
      return vector(
        dtype,
        narrow(machine, quotients, (p) => graph.op("f32x4.demote_f64x2_zero", [p])),
      );
    }
    default:
      return undefined;
  }
}

/** The wasm instructions order zeros and keep either operand's NaN, in eight machine instructions. Against a constant other than
 *  NaN the pseudo-extremum `b < a ? b : a`, which is one, gives the same, but for the sign of a zero where the constant is the
 *  zero that must win; for max(x, +0) adding +0 puts that right. */
function extremum(machine: Machine, op: "max" | "min", dtype: "f32" | "f64", [a, b]: readonly [Lanes, Lanes]): Lanes {
  const { graph } = machine;
  const shape = dtype === "f32" ? "f32x4" : "f64x2";
  const isPlain = (x: Lanes): boolean => {
    const { kind, constant: value } = single(x);
    return !x.vector && kind === "const" && !Number.isNaN(value) && !(op === "min" && Object.is(value, -0));
  };
  const limit = isPlain(b) ? [a, b] : isPlain(a) ? [b, a] : undefined;
  if (limit) {
    const isZero = op === "max" && Object.is(single(limit[1] as Lanes).constant, 0);
    return partWise(machine, dtype, limit, (x, c) => {
      const chosen = graph.op(`${shape}.p${op}`, [x, c]);
      return isZero ? graph.op(`${shape}.add`, [chosen, c]) : chosen;
    });
  }
  return partWise(machine, dtype, [a, b], (x, y) => graph.op(`${shape}.${op}`, [x, y]));
}

function boolOp(machine: Machine, op: Op, args: readonly Lanes[]): Lanes | undefined {
  const { graph } = machine;
  const same = (part: (...v: readonly Value[]) => Value): Lanes => partWise(machine, "bool", args, part);
  switch (op) {
    case "not":
      return same((a) => graph.op("v128.not", [a]));
    case "and":
    case "min":
      return same((a, b) => graph.op("v128.and", [a, b]));
    case "or":
    case "max":
      return same((a, b) => graph.op("v128.or", [a, b]));
    case "xor":
      return same((a, b) => graph.op("v128.xor", [a, b]));
    case "lt":
      return same((a, b) => graph.op("v128.andnot", [b, a]));
    case "eq":
      return same((a, b) => graph.op("v128.not", [graph.op("v128.xor", [a, b])]));
    default:
      return undefined;
  }
}

function integerOp(
  machine: Machine,
  op: Op,
  dtype: "i32" | "u32",
  result: DType,
  args: readonly Lanes[],
): Lanes | undefined {
  const { graph } = machine;
  const signed = dtype === "i32";
  const two = (name: OpName): Lanes => partWise(machine, result, args, (a, b) => graph.op(name, [a, b]));
  const one = (part: (a: Value) => Value): Lanes => partWise(machine, result, args, (a) => part(a));
  const all = (value: number): Value => graph.i32x4([value, value, value, value]);
  switch (op) {
    case "neg":
      return one((a) => graph.op("i32x4.neg", [a]));
    case "abs":
      return signed ? one((a) => graph.op("i32x4.abs", [a])) : args[0];
    case "sign":
      if (!signed) return one((a) => graph.op("i32x4.min_u", [a, all(1)]));
      return one((a) => graph.op("i32x4.max_s", [graph.op("i32x4.min_s", [a, all(1)]), all(-1)]));
    case "not":
      return one((a) => graph.op("v128.not", [a]));
    case "add":
    case "sub":
    case "mul":
    case "eq":
      return two(`i32x4.${op}`);
    case "and":
    case "or":
    case "xor":
      return two(`v128.${op}`);
    case "lt":
      return two(signed ? "i32x4.lt_s" : "i32x4.lt_u");
    case "max":
      return two(signed ? "i32x4.max_s" : "i32x4.max_u");
    case "min":
      return two(signed ? "i32x4.min_s" : "i32x4.min_u");
    case "shl":
    case "shr":
    case "idiv":
    case "mod":
      return byUniform(machine, op, dtype, args as [Lanes, Lanes]);
    default:
      return undefined;
  }
}

/** Shifts by one amount for all lanes, and division by a power of two. */
function byUniform(
  machine: Machine,
  op: "shl" | "shr" | "idiv" | "mod",
  dtype: "i32" | "u32",
  [a, b]: readonly [Lanes, Lanes],
): Lanes | undefined {
  if (b.vector) return undefined;
  const { graph } = machine;
  const by = single(b);
  const right = dtype === "i32" ? "i32x4.shr_s" : "i32x4.shr_u";
  const each = (part: (p: Value) => Value): Lanes => vector(dtype, a.parts.map(part));
  if (op === "idiv" || op === "mod") {
    const k = constantOf(by);
    if (k === undefined || k <= 0 || (k & (k - 1)) !== 0) return undefined;
    if (op === "mod") return each((p) => graph.op("v128.and", [p, graph.i32x4([k - 1, k - 1, k - 1, k - 1])]));
    return each((p) => graph.op(right, [p, graph.i32(31 - Math.clz32(k))]));
  }
  const inside = graph.op("i32.lt_u", [by, graph.i32(32)]);
  if (op === "shr" && dtype === "i32")
    return each((p) => graph.op(right, [p, graph.select(by, graph.i32(31), inside)]));
  return each((p) =>
    graph.select(graph.op(op === "shl" ? "i32x4.shl" : right, [p, by]), graph.i32x4([0, 0, 0, 0]), inside),
  );
}

/** Combines two partial results of an accumulate. */
export function combine(machine: Machine, kind: "sum" | "prod" | "max" | "min", a: Lanes, b: Lanes): Lanes | undefined {
  const op: Op = kind === "sum" ? "add" : kind === "prod" ? "mul" : kind;
  const { dtype } = a;
  return elementwiseOf(machine, op, dtype, dtype, [a, b]);
}
