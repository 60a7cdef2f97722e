/** Modules that calls are given again and again: once the leaves of one were all seen to be there, the next calls take them as they were
 *  and look at none, until one of them tells that it has changed. */
import type { Buffer } from "../runtime/buffer.ts";
import { keep } from "../runtime/kept.ts";
import { addRecall, type Found, matches, type Recall } from "./repeat.ts";
import { Tensor } from "./tensor.ts";
import { childrenOf, isNode, treeNode } from "./tree.ts";

/** From here on calls of jitted functions recall the modules that they are given: a model of many layers then costs a call as little as
 *  a small one. `@sinan/cpu` does so when it is imported. */
export const recallModules = (): void => addRecall(recall);

/** Where a module is learnt: those inside of it are a part of what is kept of it. */
const learning = new WeakSet<Found>();

/** A module is known from its last calls, or learnt. One of a call's arguments is. */
const recall: Recall = (pattern, tree, into) => {
  if (into.sure || learning.has(into)) return undefined;
  const { key, children, known = {} } = tree[treeNode];
  const from = into.args.length;
  if (known.like === pattern && known.kept?.values) {
    const { values } = known.kept;
    into.sure = { from, values };
    for (const value of values) into.args.push(value);
    return true;
  }
  learning.add(into);
  const isLike = key === pattern.key && matches(pattern.children, children, into);
  learning.delete(into);
  if (!isLike) return false;
  known.times = known.like === pattern ? (known.times ?? 0) + 1 : 0;
  known.like = pattern;
  if (known.times > 0) {
    const values = into.args.slice(from);
    if (areThere(values) && keepsAll(tree)) {
      known.kept = keep(values);
      known.times = 0;
    }
  }
  return true;
};

/** Whether values begin with a buffer, and all buffers are of its device and have their contents. */
function areThere(values: readonly (Buffer | number)[]): boolean {
  const [first] = values;
  if (typeof first !== "object") return false;
  return values.every((v) => typeof v === "number" || (v.stream === first.stream && v.stream.hasMade(v)));
}

/** Whether nothing but the tensors of a tree can change, which then tell of it. */
function keepsAll(tree: unknown): boolean {
  if (tree instanceof Tensor) return tree.keep();
  const isOpen = isNode(tree) ? !tree[treeNode].known : childrenOf(tree) && !Object.isFrozen(tree);
  return !isOpen && (childrenOf(tree) ?? []).every(([, part]) => keepsAll(part));
}
