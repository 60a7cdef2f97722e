/** The op table: every op of the IR, each with everything the framework knows of it. A missing entry does not compile. */
import { VerifyError } from "../errors.ts";
import type { Attrs, Node, Op } from "../ir/node.ts";
import { type Infer, InternScope } from "../ir/scope.ts";
import { contraction } from "./contraction.ts";
import type { OpDef } from "./define.ts";
import { elementwise } from "./elementwise.ts";
import { movement } from "./movement.ts";
import { loops, structure } from "./structure.ts";

export const ops = { ...structure, ...elementwise, ...movement, ...contraction, ...loops } satisfies {
  readonly [O in Op]: OpDef<O>;
};

/** The entry of an op, typed for whoever handles all ops alike. */
export const define = <O extends Op>(op: O): OpDef<O> => ops[op] as unknown as OpDef<O>;

export const isOp = (name: string): name is Op => Object.hasOwn(ops, name);

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
