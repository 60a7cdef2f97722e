/** Leaves, marks, state and control: the ops that are not arithmetic. */
import { DTypeError, ShapeError, VerifyError } from "../errors.ts";
import { dimEqual, dimsEqual } from "../ir/dim.ts";
import { dtypes, isFull } from "../ir/dtype.ts";
import { dtypeOf, type Node, tensorTypeOf } from "../ir/node.ts";
import { isTuple, tensorType, type Type, typeText } from "../ir/type.ts";
import type { OpFamily } from "./define.ts";

const same = ([x]: readonly Node[]): Type => tensorTypeOf(x as Node);

export const structure = {
  const: { role: "leaf", arity: 0, infer: (_, { dtype }) => tensorType(dtype) },
  param: { role: "leaf", arity: 0, infer: (_, { type }) => type },
  iota: {
    role: "leaf",
    arity: 0,
    infer: (_, { dtype, dims, axis }) => {
      if (!isFull(dtype) || dtypes[dtype].kind === "bool")
        throw new DTypeError(`iota: expected a number dtype with arithmetic, got ${dtype}`);
      if (axis < 0 || axis >= dims.length)
        throw new ShapeError(`iota: axis ${axis} is outside a tensor of ${dims.length} axes`);
      return tensorType(dtype, dims);
    },
  },
  /** Threefry2x32-20 in the partitionable layout: element i has counter offset + i (Salmon et al. 2011; JAX's
   *  `jax_threefry_partitionable`). One word is the xor of the two. Several keys `[…, 2]` draw as much each. */
  random: {
    role: "leaf",
    arity: 2,
    flops: 110,
    infer: ([key, offset], { dims, words }) => {
      const [k, o] = [tensorTypeOf(key as Node), tensorTypeOf(offset as Node)];
      const many = k.dims.slice(0, -1);
      if (k.dtype !== "u32" || !dimEqual(k.dims.at(-1) ?? 0, 2))
        throw new ShapeError(`random: expected a key u32[2], got ${typeText(k)}`, { hint: "make one with key(seed)" });
      if (o.dtype !== "u32" || !(o.dims.length === 0 || dimsEqual(o.dims, many)))
        throw new ShapeError(`random: expected an offset u32[], or one for each key, got ${typeText(o)}`);
      return tensorType("u32", [...many, ...dims, ...(words === 2 ? [2] : [])]);
    },
  },

  stopGradient: { role: "mark", arity: 1, infer: same },
  alias: { role: "mark", arity: 1, infer: same, vjp: (g) => [g] },
  /** The value, written over the memory of the target where the plan allows. */
  assign: {
    role: "mark",
    arity: 2,
    infer: ([target, value]) => {
      const [t, v] = [tensorTypeOf(target as Node), tensorTypeOf(value as Node)];
      if (t.dtype !== v.dtype || !dimsEqual(t.dims, v.dims))
        throw new ShapeError(`assign: the target is ${typeText(t)}, the value ${typeText(v)}`);
      return tensorType(v.dtype, v.dims);
    },
    vjp: (g) => [null, g],
  },

  call: {
    role: "control",
    arity: [0, Number.POSITIVE_INFINITY],
    infer: (src, { fn }) => {
      if (src.length !== fn.params.length)
        throw new VerifyError(`call ${fn.name}: expected ${fn.params.length} arguments, got ${src.length}`);
      fn.params.forEach((p, i) => {
        const [want, got] = [tensorTypeOf(p), tensorTypeOf(src[i] as Node)];
        if (want.dtype !== got.dtype || !dimsEqual(want.dims, got.dims))
          throw new ShapeError(`call ${fn.name}: argument ${i} should be ${typeText(want)}, got ${typeText(got)}`);
      });
      return { tuple: fn.results.map((r) => r.type) };
    },
    // The rule of a call needs the body's derivative, which the driver makes: see autodiff/region.ts.
  },
  tuple: { role: "mark", arity: [0, Number.POSITIVE_INFINITY], infer: (src) => ({ tuple: src.map((s) => s.type) }) },
  item: {
    role: "mark",
    arity: 1,
    infer: ([x], { index }) => {
      const type = (x as Node).type;
      const part = isTuple(type) ? type.tuple[index] : undefined;
      if (!part) throw new VerifyError(`item: ${typeText(type)} has no part ${index}`);
      return part;
    },
  },
} satisfies OpFamily<
  "const" | "param" | "iota" | "random" | "stopGradient" | "alias" | "assign" | "call" | "tuple" | "item"
>;

const nothing: Type = { tuple: [] };

/** The loop level. Indices are i32 scalars, buffers flat; a nest runs its stores over its ranges, in the order given. */
export const loops = {
  range: { role: "kernel", arity: 0, infer: () => tensorType("i32") },
  scratch: { role: "kernel", arity: 0, infer: (_, { type }) => type },
  /** `buffer[index]`, or 0 where the mask is false. */
  load: { role: "kernel", arity: [2, 3], infer: ([buffer]) => tensorType(dtypeOf(buffer as Node)) },
  /** `buffer[index] = value`, where the mask is true. */
  store: {
    role: "kernel",
    arity: [3, 4],
    infer: ([buffer, , value]) => {
      if (dtypeOf(buffer as Node) !== dtypeOf(value as Node))
        throw new VerifyError(
          `store: the buffer holds ${dtypeOf(buffer as Node)}, the value is ${dtypeOf(value as Node)}`,
        );
      return nothing;
    },
  },
  /** The combination of a value over reduce ranges, in their order: `src = [value, …ranges]`. */
  accumulate: { role: "kernel", arity: [1, Number.POSITIVE_INFINITY], flops: 1, infer: same },
  nest: { role: "kernel", arity: [1, Number.POSITIVE_INFINITY], infer: () => nothing },
  /** `src = [range, limit, …nests and loops]`: runs them in turn for each value of the range below the limit, an i32 scalar of the
   *  ranges further out that is at most the range's extent. Iterations of a parallel one touch no element that another writes. */
  loop: { role: "kernel", arity: [3, Number.POSITIVE_INFINITY], infer: () => nothing },
  kernel: { role: "kernel", arity: [0, Number.POSITIVE_INFINITY], infer: () => nothing },
} satisfies OpFamily<"range" | "scratch" | "load" | "store" | "accumulate" | "nest" | "loop" | "kernel">;
