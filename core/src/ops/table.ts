/** The op table: every op of the IR, each with everything the framework knows of it. A missing entry does not compile. What every
 *  program has is joined here; rare families join when they are loaded (`rare.ts`). */
import { VerifyError } from "../errors.ts";
import type { Attrs, Node, Op, RareOp } from "../ir/node.ts";
import type { Rules } from "../ir/rewrite.ts";
import { type Infer, InternScope } from "../ir/scope.ts";
import type { control } from "../control/ops.ts";
import type { attentive } from "./attention.ts";
import { contraction } from "./contraction.ts";
import type { convolution } from "./convolution.ts";
import type { blockDots } from "./block-dot.ts";
import type { blockOps } from "./blocks.ts";
import type { cumulative } from "./cumulative.ts";
import type { OpDef } from "./define.ts";
import { elementwise } from "./elementwise.ts";
import { movement } from "./movement.ts";
import type { frames } from "./framed.ts";
import type { scattering } from "./scattering.ts";
import type { sorting } from "./sorting.ts";
import type { special } from "./special.ts";
import type { pooling } from "./window.ts";
import type { machine } from "./machine.ts";
import type { names } from "./named.ts";
import { loops, structure } from "./structure.ts";

export const ops = { ...structure, ...elementwise, ...movement, ...contraction, ...loops } satisfies {
  readonly [O in Exclude<Op, RareOp>]: OpDef<O>;
};

/** The rare families. Each is a module of its own, with the builders of its ops, and joins when that is loaded: a program that
 *  imports none of the builders is bundled without it. An op of `RareAttrs` that none of them has does not compile. */
type Rare = typeof attentive &
  typeof cumulative &
  typeof convolution &
  typeof control &
  typeof frames &
  typeof scattering &
  typeof sorting &
  typeof special &
  typeof blockOps &
  typeof blockDots &
  typeof machine &
  typeof names &
  typeof pooling;
const rare: { [O in RareOp]?: Rare[O] } = {};

/** Adds the entries of a rare family. */
export const load = (family: typeof rare): void => void Object.assign(rare, family);

/** What nodes of the rare families are to be instead before they are put into kernels. A family adds its rules when it is loaded. */
export const canonicalRules: { -readonly [O in keyof Rules]: Rules[O] } = {};

/** The entry of an op, typed for whoever handles all ops alike.
 *  @throws VerifyError for an op of a family that is not loaded */
export const define = <O extends Op>(op: O): OpDef<O> =>
  ((ops as Partial<Record<Op, unknown>>)[op] ?? rare[op as RareOp] ?? missing(op)) as OpDef<O>;

export const isOp = (name: string): name is Op => Object.hasOwn(ops, name) || Object.hasOwn(rare, name);

function missing(op: string): never {
  throw new VerifyError(`${op}: no such op is loaded`, { hint: "import the module that has its builder" });
}

/** @throws VerifyError on a wrong number of sources; ShapeError, DTypeError from the op's own rule */
export const infer: Infer = <O extends Op>(op: O, src: readonly Node[], attr: Attrs[O]) => {
  const entry = define(op);
  const [least, most] = typeof entry.arity === "number" ? [entry.arity, entry.arity] : entry.arity;
  if (src.length < least || src.length > most)
    throw new VerifyError(`${op}: expected ${least === most ? least : `${least} or more`} sources, got ${src.length}`);
  return entry.infer(src, attr);
};

/** A fresh interning scope over this table. */
export const newScope = (site?: () => string | undefined): InternScope => new InternScope(infer, site);
