/** The one node of the IR, for tensor graphs and for kernels: an operation, its sources, its attributes and the type of
 *  its result. Frozen. The two levels differ by the ops that their verifiers allow. */
import type { Dim } from "./dim.ts";
import type { DType } from "./dtype.ts";
import type { Fn } from "./fn.ts";
import type { Scope } from "./scope.ts";
import type { TensorType, Type } from "./type.ts";

type None = Record<never, never>;

/** How a reduction joins elements. */
export type ReduceKind = "sum" | "prod" | "max" | "min";

/** `affine`: y = a·y′ + x, where y′ is the element before. */
export type CumulateKind = ReduceKind | "affine";

/** What a loop of a kernel is to the machine. `reduce` loops run inside the output loops of their nest; an `outer` one is that of a
 *  `loop` node around whole nests. */
export type RangeKind = "loop" | "parallel" | "reduce" | "unroll" | "vector" | "outer";

/** The distance of windows, and of the elements of one, along each of the last axes. */
export interface WindowSteps {
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
}

/** An axis of an array in memory: what neighbours along it are apart, its length, how many of its first and of its last elements are 0. */
export type Edge = readonly [stride: number, extent: number, low: number, high: number];

/** The attributes of ops whose entries are loaded with the module of their builders: see `ops/rare.ts`. A new one begins here. */
export interface RareAttrs {
  /** q [batch, heads, T, D], k [batch, kvHeads, S, D], v [batch, kvHeads, S, E], a mask where there is one. Causal: query i sees
   *  keys up to i + S − T. */
  attention: {
    readonly causal: boolean;
    readonly scale: number;
    readonly mask: "none" | "bool" | "bias";
    /** Whether a source after the mask says how many keys each of the batch has, and one after it the first that each query sees. */
    readonly lengths: boolean;
    readonly starts: boolean;
  };
  /** The sources of an attention, then its lse, delta and the cotangent of its first result. */
  attentionBackward: Attrs["attention"];
  argsort: { readonly axis: number; readonly descending: boolean };

  /** Over the last axes of x [images, groups, channels, ...space], with so many zeros before and after each, and w [groups, out,
   *  channels, ...window]. `zeros`: how many elements before each axis of x, then after each, are zeros that x has in memory; no list where
   *  nobody knows of any. */
  conv: WindowSteps & {
    readonly low: readonly number[];
    readonly high: readonly number[];
    readonly zeros: readonly number[];
  };
  /** The derivative of a convolution's weights, windows of `sizes`, from x and the cotangent [images, groups, out, ...windows]. */
  convWeights: Attrs["conv"] & { readonly sizes: readonly number[] };
  /** What the elements of windows over the last axes combine to. */
  window: WindowSteps & { readonly kind: "sum" | "max" | "min"; readonly sizes: readonly number[] };
  /** A value with so many elements of one number before and after each of its last axes. */
  framed: { readonly low: readonly number[]; readonly high: readonly number[]; readonly value: number };

  /** As scatter, but what is there and the updates are multiplied, or the greatest or least of them stays. */
  scatterReduce: { readonly axis: number; readonly kind: "prod" | "max" | "min" };

  /** What the elements of an axis up to each one (or, in reverse, from it on) combine to. */
  cumulate: { readonly kind: CumulateKind; readonly axis: number; readonly reverse: boolean };
  /** `src`: constants of the loop, the carry, stacked inputs. The body takes those (one row of each input) and gives the next carry
   *  and a row of each stacked output. */
  scan: {
    readonly fn: Fn;
    readonly consts: number;
    readonly carry: number;
    readonly length: number;
    readonly reverse: boolean;
  };
  /** `src`: a bool scalar, then the arguments of both functions. */
  cond: { readonly yes: Fn; readonly no: Fn };
  /** `src`: constants of the loop, then the carry. The test takes both and gives a bool scalar, the body the next carry. */
  while: { readonly test: Fn; readonly body: Fn; readonly consts: number };
  /** A name for what a derivative may keep. */
  named: { readonly name: string };
  /** Row `src[1]`, a scalar in host space, of the first axis: how the plan of a scan's body reads. */
  pick: None;
  /** A stack of `length` rows of which one, at `src[1]`, is written: how the plan of a scan's body writes. */
  put: { readonly length: number };
  /** The f32 values of a tensor of blocks. */
  dequantize: None;
  /** What a tensor of blocks is kept as, u8, and the tensor made of such bytes. */
  bytes: None;
  blocks: { readonly dtype: DType };
  /** The product of rows of 8-bit codes, with a scale and what their weights' zero point takes away for each block, and rows of blocks. */
  blockDot: None;
  expm1: None;
  log1p: None;
  exp2: None;
  log2: None;
  log10: None;
  tan: None;
  asin: None;
  acos: None;
  atan: None;
  atan2: None;
  sinh: None;
  cosh: None;
  asinh: None;
  acosh: None;
  atanh: None;
  erfc: None;
  /** What kernels are expanded to for hardware that has it: see `ops/machine.ts`. */
  fma: None;
  scale: None;
  farSin: None;
  farCos: None;
}

/** The attributes of each op. A new op begins here: the tables that must know it then no longer compile. */
export interface Attrs extends RareAttrs {
  // Leaves.
  const: { readonly value: number; readonly dtype: DType };
  param: { readonly index: number; readonly name: string; readonly type: Type };
  iota: { readonly dtype: DType; readonly dims: readonly Dim[]; readonly axis: number };
  /** Threefry bits. `words: 1` gives one u32 an element, `words: 2` both words on a last axis of 2 (new keys). */
  random: { readonly dims: readonly Dim[]; readonly words: 1 | 2 };

  // Element-wise.
  neg: None;
  abs: None;
  sign: None;
  sqrt: None;
  rsqrt: None;
  exp: None;
  log: None;
  sin: None;
  cos: None;
  tanh: None;
  erf: None;
  floor: None;
  round: None;
  not: None;
  add: None;
  sub: None;
  mul: None;
  div: None;
  idiv: None;
  mod: None;
  pow: None;
  max: None;
  min: None;
  lt: None;
  eq: None;
  and: None;
  or: None;
  xor: None;
  shl: None;
  shr: None;
  where: None;
  cast: { readonly dtype: DType };
  bitcast: { readonly dtype: DType };

  // Movement.
  reshape: { readonly dims: readonly Dim[] };
  permute: { readonly axes: readonly number[] };
  expand: { readonly dims: readonly Dim[] };
  pad: { readonly low: readonly Dim[]; readonly high: readonly Dim[]; readonly value: number };
  slice: { readonly start: readonly Dim[]; readonly size: readonly Dim[]; readonly step: readonly number[] };
  flip: { readonly axes: readonly number[] };
  concat: { readonly axis: number };

  // Reduction, contraction, indexing.
  reduce: { readonly kind: ReduceKind; readonly axes: readonly number[] };
  dot: {
    readonly contract: readonly [readonly number[], readonly number[]];
    readonly batch: readonly [readonly number[], readonly number[]];
  };
  gather: { readonly axis: number };
  scatter: { readonly axis: number; readonly mode: "add" | "set" };

  // Marks, state, control.
  stopGradient: None;
  /** A fresh name for a value: what `grad` differentiates with respect to. */
  alias: { readonly tag: number };
  assign: None;
  call: { readonly fn: Fn };
  tuple: None;
  item: { readonly index: number };

  // Kernel level.
  range: { readonly id: number; readonly extent: number; readonly kind: RangeKind };
  scratch: { readonly id: number; readonly type: TensorType };
  load: None;
  store: None;
  /** `product`: the sum of a `dot`, in order of its steps whatever the schedule, where a fused multiply-add is allowed. `edges`: where the
   *  first factor, as it lies in memory, is known to be 0. */
  accumulate: { readonly kind: ReduceKind; readonly product?: true; readonly edges?: readonly Edge[] };
  /** One loop nest: the order of its ranges from the outermost, by id. */
  nest: { readonly order: readonly number[] };
  /** Nests and loops that run in turn, once for each iteration of an outer range below a limit. */
  loop: { readonly kind: "serial" | "parallel" };
  kernel: None;
}

/** The name of an operation. */
export type Op = keyof Attrs;
export type RareOp = keyof RareAttrs;

/** A node of one operation. */
export interface NodeOf<O extends Op> {
  readonly id: number;
  readonly op: O;
  readonly src: readonly Node[];
  readonly attr: Attrs[O];
  readonly type: Type;
  readonly scope: Scope;
  /** Structural: equal for equal graphs whatever scope they live in. Only a hint; equality is always checked. */
  readonly hash: number;
  /** The user's line that made the node, where it was recorded. */
  readonly site?: string | undefined;
}

/** An operation with its sources, attributes and type. */
export type Node = { [O in Op]: NodeOf<O> }[Op];

/** The dtype and dims of a node that is not a tuple. */
export function tensorTypeOf(node: Node): TensorType {
  if ("tuple" in node.type) throw new TypeError(`${node.op}: expected a tensor, got a tuple; project it with item`);
  return node.type;
}

/** The dtype of a node's value. */
export const dtypeOf = (node: Node): DType => tensorTypeOf(node).dtype;
/** Whether it is a number of the host, which kernels are given by value. */
export const isHost = ({ type }: Node): boolean => "space" in type && type.space === "host";
export const dimsOf = (node: Node): readonly Dim[] => tensorTypeOf(node).dims;
