/** Instances that copy neighbours in memory into scratch memory, as the packing of short panels does: one copy of several bytes. */
import { dtypeOf, type Node } from "../../ir/node.ts";
import { affine } from "../../ops/indexing.ts";
import type { CLike } from "./c-like.ts";
import type { StoreNode } from "../nests.ts";

/** Instances in turn. Of a copy the first one stands for all of them. */
interface Run {
  readonly instance: readonly StoreNode[];
  readonly copies: number;
}

/** What an instance copies, if that is all that it does. */
function copied(instance: readonly StoreNode[]): { readonly from: Node; readonly to: Node } | undefined {
  const [store] = instance;
  const value = store?.src[2];
  const isPlain = instance.length === 1 && store?.src.length === 3 && value?.op === "load" && value.src.length === 2;
  if (!isPlain || store.src[0]?.op !== "scratch" || value.src[0] === store.src[0]) return undefined;
  if (dtypeOf(value) !== dtypeOf(store.src[0])) return undefined;
  return { from: value.src[1] as Node, to: store.src[1] as Node };
}

const isNext = (a: Node, b: Node): boolean => {
  const [x, y] = [affine(a), affine(b)];
  return (
    y.constant === x.constant + 1 &&
    x.terms.size === y.terms.size &&
    [...x.terms].every(([atom, k]) => y.terms.get(atom) === k)
  );
};

/** The instances, neighbours that copy neighbours as one. */
export function runsOf(instances: readonly (readonly StoreNode[])[]): Run[] {
  const runs: { instance: readonly StoreNode[]; copies: number }[] = [];
  let last: ReturnType<typeof copied>;
  let buffer: Node | undefined;
  for (const instance of instances) {
    const copy = copied(instance);
    const from = copy && instance[0]?.src[2]?.src[0];
    const run = runs.at(-1);
    if (run && copy && last && from === buffer && isNext(last.from, copy.from) && isNext(last.to, copy.to))
      run.copies++;
    else runs.push({ instance, copies: 1 });
    last = copy;
    buffer = from;
  }
  return runs;
}

/** The text of so many copies, from the first on.
 *  @param pointer  to an element of a buffer */
export function copyText(
  { src }: StoreNode,
  count: number,
  pointer: (buffer: Node, index: Node) => string,
  copy: NonNullable<CLike["copy"]>,
): string {
  const [buffer, index, value] = src as [Node, Node, Node];
  return copy(pointer(buffer, index), pointer(value.src[0] as Node, value.src[1] as Node), count, dtypeOf(buffer));
}
