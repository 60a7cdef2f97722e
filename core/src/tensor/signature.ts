/** What a call looks like to a trace: the structure of its arguments, and how each leaf enters. */
import { dimText } from "../ir/dim.ts";
import { type Space, type TensorType, tensorType } from "../ir/type.ts";
import { Tensor } from "./tensor.ts";
import { trace, type Traced } from "./trace.ts";
import { flatten, identity, type Leaf, mapLeaves, structure } from "./tree.ts";

/** How a leaf enters a trace: by its type, as a weakly typed number, or as it is. */
export type Entry =
  | { readonly kind: "tensor"; readonly type: TensorType }
  | { readonly kind: "number" }
  | { readonly kind: "fixed" };

export interface Signature {
  readonly key: string;
  readonly leaves: readonly Leaf[];
  readonly entries: readonly Entry[];
}

/** @param typeAt  the type by which a tensor is traced, where that is not its own */
export function signatureOf(
  args: readonly unknown[],
  isStatic: (path: string) => boolean,
  typeAt?: (path: string, type: TensorType) => TensorType,
): Signature {
  const leaves = flatten(args);
  let key = structure(args);
  const entries = leaves.map(({ path, value }): Entry => {
    if (isStatic(path)) {
      key += `|=${identity(value)}`;
      return { kind: "fixed" };
    }
    if (value instanceof Tensor) {
      const own = tensorType(value.dtype, value.dims);
      const type = typeAt ? typeAt(path, own) : own;
      key += `|${value.dtype}`;
      for (const d of type.dims) key += typeof d === "number" ? ` ${d}` : ` ${dimText(d)}`;
      return { kind: "tensor", type };
    }
    if (typeof value === "number") {
      key += "|#";
      return { kind: "number" };
    }
    return { kind: "fixed" };
  });
  return { key, leaves, entries };
}

/** Traces f over the leaves that vary. A number becomes a scalar in the given space. In host space it has no dtype of its own: it
 *  takes that of the tensor it meets. */
export function traceCall<A extends readonly unknown[]>(
  name: string,
  f: (...args: A) => unknown,
  args: A,
  { leaves, entries }: Signature,
  numbers: Space,
): Traced {
  const varying = entries.flatMap((e) =>
    e.kind === "fixed" ? [] : [e.kind === "tensor" ? e.type : tensorType("f32", [], numbers)],
  );
  return trace(name, varying, (params) => {
    let leafIndex = 0;
    let paramIndex = 0;
    const traced = mapLeaves(args, () => {
      const at = leafIndex++;
      return (entries[at] as Entry).kind === "fixed" ? (leaves[at] as Leaf).value : params[paramIndex++];
    });
    return f(...(traced as A));
  });
}

export const nameOf = (f: { readonly name: string }, name: string | undefined): string =>
  name ?? (/^[A-Za-z_]\w*$/.test(f.name) ? f.name : "jit");
