/** The function of one fusion group: its inputs as parameters, its stored value as the result. An epilogue is brought to the
 *  dims of its anchor, so that a bias added after a reshape does not split the anchor's loops. */
import { dimsEqual } from "../ir/dim.ts";
import { copy } from "../ir/copy.ts";
import { type Fn, makeFn, topological } from "../ir/fn.ts";
import { dimsOf, type Node, type NodeOf } from "../ir/node.ts";
import { currentScope, remake, type Scope, within } from "../ir/scope.ts";
import { tensorType, type TensorType } from "../ir/type.ts";
import { reshape } from "../ops/build.ts";
import { newScope } from "../ops/table.ts";
import type { Group } from "./fuse.ts";

export interface GroupFn {
  readonly fn: Fn;
  /** Stored nodes (or host scalars) that the parameters stand for, in order. */
  readonly inputs: readonly Node[];
  /** Inputs that may share memory with the result: read only at the place that is written. */
  readonly inPlace: readonly Node[];
}

export function groupFn({ root, anchor }: Group, stored: ReadonlySet<Node>): GroupFn {
  const scope = newScope();
  return within(scope, () => {
    const isInput = (n: Node) => n !== root && (stored.has(n) || n.op === "param");
    const inputs = topological([root], (n) => !isInput(n)).filter((n) => isInput(n) || n === root);
    const params = inputs.filter((n) => n !== root || n.op === "param");
    const known = new Map<Node, Node>(params.map((n, index) => [n, parameter(scope, n, index)]));
    const result = anchor && anchor !== root ? epilogueOf(root, anchor, known) : (copy([root], known)[0] as Node);
    const fn = makeFn(
      "kernel",
      params.map((n) => known.get(n) as NodeOf<"param">),
      [result],
    );
    return { fn, inputs: params, inPlace: anchor ? [] : readInPlace(root, new Set(params)) };
  });
}

function parameter(scope: Scope, node: Node, index: number): Node {
  const { dtype, dims, space } = node.type as TensorType;
  return scope.make("param", [], { index, name: "", type: tensorType(dtype, dims, space) }) as Node;
}

/** The root rebuilt in the anchor's dims: reshapes on the way are dropped, other operands are reshaped to meet it. */
function epilogueOf(root: Node, anchor: Node, known: Map<Node, Node>): Node {
  const dims = dimsOf(anchor);
  const through = new Map<Node, Node>([[anchor, copy([anchor], known)[0] as Node]]);
  for (const n of topological([root], (m) => m !== anchor && !known.has(m))) {
    if (n === anchor || !n.src.some((s) => through.has(s))) continue;
    const src = n.src.map((s) => through.get(s) ?? reshape(copy([s], known)[0] as Node, dims));
    through.set(n, n.op === "reshape" ? (src[0] as Node) : remake(currentScope(), n, src));
  }
  return through.get(root) as Node;
}

/** Inputs whose every use on the way to the root keeps its position. */
function readInPlace(root: Node, inputs: ReadonlySet<Node>): Node[] {
  const moved = new Set<Node>();
  const straight = new Set<Node>([root]);
  const order = topological([root], (n) => n === root || !inputs.has(n));
  for (let i = order.length - 1; i >= 0; i--) {
    const n = order[i] as Node;
    if (inputs.has(n) && n !== root) continue;
    const keeps = straight.has(n) && !moved.has(n) && (isPointwise(n) || n.op === "reshape");
    for (const s of n.src) (keeps && sameSize(s, n) ? straight : moved).add(s);
  }
  return [...inputs].filter((n) => straight.has(n) && !moved.has(n) && sameSize(n, root));
}

const isPointwise = (n: Node): boolean => !["permute", "expand", "pad", "slice", "flip", "concat", "gather", "scatter", "reduce", "dot", "random"].includes(n.op);

const sameSize = (a: Node, b: Node): boolean => {
  const count = (n: Node) => dimsOf(n).reduce<number>((p, d) => p * (d as number), 1);
  return dimsEqual(dimsOf(a), dimsOf(b)) || count(a) === count(b);
};
