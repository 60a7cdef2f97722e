/** The shape of an entry of the op table: everything the framework knows of an op. */
import type { Batch } from "../autodiff/batch.ts";
import type { Link } from "../compiler/link.ts";
import { DTypeError, ShapeError } from "../errors.ts";
import type { Evaluate } from "../interpreter/evaluate.ts";
import type { AttrKinds } from "../ir/attr-kinds.ts";
import { dimsEqual } from "../ir/dim.ts";
import { type DType, dtypes } from "../ir/dtype.ts";
import { type Attrs, type Node, type NodeOf, type Op, type RareOp, tensorTypeOf } from "../ir/node.ts";
import { type TensorType, type Type, typeText } from "../ir/type.ts";
import type { LowerItems, LowerNests } from "../kernel/lower.ts";
import type { LowerValue } from "../kernel/value-at.ts";

/** Cotangents of the sources, in their order; null where none flows. `y` is the op's own node. */
export type Vjp<O extends Op> = (g: Node, y: NodeOf<O>) => readonly (Node | null)[];

/** Cotangents of the sources of an op with several results, where `needed`, from those of the results; null where none flows. */
export type Pull<O extends Op> = (
  y: NodeOf<O>,
  cotangents: readonly (Node | null)[],
  needed: readonly boolean[],
) => readonly (Node | null)[];

/** The results of an op with several, computed together with their tangents, from the tangents of its sources. */
export type Push<O extends Op> = (
  y: NodeOf<O>,
  tangents: readonly (Node | null)[],
) => { readonly results: readonly Node[]; readonly tangents: readonly (Node | null)[] };

/** The reference meaning of an element-wise op on doubles, before rounding to `result`, the dtype of its result. `dtype` is the
 *  last source's. */
export type Scalar = (x: readonly number[], dtype: DType, result: DType) => number;

interface Common<O extends Op> {
  /** How many sources; a pair gives the least and the most. */
  readonly arity: number | readonly [number, number];
  /** The result's type. Throws ShapeError or DTypeError. */
  readonly infer: (src: readonly Node[], attr: Attrs[O]) => Type;
  readonly vjp?: Vjp<O>;
  readonly pull?: Pull<O>;
  readonly push?: Push<O>;
  /** Floating-point operations for one element of the result (reductions and contractions: for one step of theirs). */
  readonly flops?: number;
  /** A library or an engine may take this op as a whole. */
  readonly claimable?: true;
  /** To fusion: an `anchor` brings loops of its own, and a group has one at most; a `sink` writes its result in an order of its
   *  own, so nothing can follow it in its kernel. */
  readonly fusion?: "anchor" | "sink";
  /** It reads elements of its sources many times, so what computes there is stored first; for `unmasked` padding is too, so that no
   *  condition stands between its loads, and for `casts` casts are. */
  readonly rereads?: "values" | "unmasked" | "casts";

  // What the passes know themselves of the ops that every program has, an entry of a rare family brings along.
  readonly attrs?: AttrKinds<O>;
  readonly evaluate?: Evaluate<O>;
  readonly batch?: Batch<O>;
  readonly lower?: LowerValue<O>;
  readonly lowerNests?: LowerNests<O>;
  readonly lowerItems?: LowerItems<O>;
  readonly link?: Link<O>;
  readonly expand?: Expand;
}

/** What an element-wise op of a rare family is made of, in scalars of f32 or f64. */
export type Expand = (x: Node, y: Node) => Node;

/** What an op is to the passes. What is `placed` is stored as a part of what is stored. A `movement` op is defined by `index`: for symbolic
 *  indices of the result, the indices of source `part` and, where the source has no such element, the condition under which it does. */
export type OpDef<O extends Op> = Common<O> &
  (
    | {
        readonly role:
          | "leaf"
          | "reduce"
          | "contraction"
          | "indexed"
          | "storage"
          | "mark"
          | "placed"
          | "control"
          | "kernel";
      }
    | { readonly role: "elementwise"; readonly scalar: Scalar }
    | { readonly role: "movement"; readonly index: (i: readonly Node[], y: NodeOf<O>, part: number) => Placement }
  );

export interface Placement {
  readonly at: readonly Node[];
  /** A bool scalar, absent where every index is inside. */
  readonly inside?: Node | undefined;
  /** The value outside. */
  readonly otherwise?: number;
}

export type OpFamily<O extends Op> = { readonly [P in O]: OpDef<P> };

/** An entry that is whole: no pass knows its op. A sink lowers to nests, what runs functions to a step of the plan, any other op to
 *  a value; an element-wise one is made of others, or stands in kernels alone. */
export type RareDef<O extends RareOp> = OpDef<O> &
  Required<Pick<Common<O>, "attrs">> &
  (
    | { readonly role: "elementwise"; readonly expand: Expand }
    | { readonly role: "elementwise"; readonly level: "loops" }
    | (Required<Pick<Common<O>, "evaluate" | "batch">> &
        (
          | { readonly fusion: "sink"; readonly lowerNests: LowerNests<O> }
          | { readonly fusion: "sink"; readonly lowerItems: LowerItems<O>; readonly pull: Pull<O> }
          | { readonly fusion?: "anchor"; readonly lower: LowerValue<O> }
          | ({ readonly role: "control" } & Required<Pick<Common<O>, "pull" | "push" | "link">>)
        ))
  );

export type RareFamily<O extends RareOp> = { readonly [P in O]: RareDef<P> };

const names = (src: readonly Node[]) => src.map((s) => typeText(s.type)).join(", ");

/** @throws DTypeError unless every source has a dtype of one of the kinds and arithmetic is defined on it */
export function requireKinds(op: Op, src: readonly Node[], kinds: readonly string[]): DType {
  const first = tensorTypeOf(src[0] as Node).dtype;
  for (const s of src) {
    const { dtype } = tensorTypeOf(s);
    if (dtype !== first)
      throw new DTypeError(`${op}: the operands' dtypes differ: ${names(src)}`, { hint: "cast one of them" });
    const info = dtypes[dtype];
    if (info.role !== "full" || !kinds.includes(info.kind))
      throw new DTypeError(`${op}: expected ${kinds.join(" or ")} with arithmetic, got ${names(src)}`, {
        hint: info.role === "full" ? undefined : `${dtype} is kept, not computed with: dequantize it first`,
      });
  }
  return first;
}

/** @throws ShapeError unless the sources have the same dims */
export function requireSameDims(op: Op, src: readonly Node[]): TensorType["dims"] {
  const { dims } = tensorTypeOf(src[0] as Node);
  for (const s of src)
    if (!dimsEqual(tensorTypeOf(s).dims, dims))
      throw new ShapeError(`${op}: the operands' shapes differ: ${names(src)}`, { hint: "broadcast them first" });
  return dims;
}
