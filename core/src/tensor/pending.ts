/** Pending operations: what a tensor is before somebody needs its value. The lazy scope does not intern, so a pending node
 *  lives exactly as long as some tensor or later node needs it; and a node whose value is known forgets its sources. */
import { TraceError } from "../errors.ts";
import { topological } from "../ir/fn.ts";
import type { Attrs, Node, NodeOf, Op } from "../ir/node.ts";
import { freshId, type Scope, setBaseScope } from "../ir/scope.ts";
import { type Type, typeText } from "../ir/type.ts";
import { infer } from "../ops/table.ts";
import { Buffer } from "../runtime/buffer.ts";

const noSources: readonly Node[] = Object.freeze([]);

/** A node of the lazy scope. The one exception to frozen nodes: only `flush` changes it, and only to set its value. */
export class Pending<O extends Op = Op> implements NodeOf<O> {
  readonly id = freshId();
  readonly op: O;
  readonly attr: Attrs[O];
  readonly type: Type;
  readonly scope: Scope = lazyScope;
  readonly hash = 0;
  src: readonly Node[];
  /** A buffer, or the JavaScript number behind a scalar in host space. */
  value: Buffer | number | null = null;
  /** Tensors that were made with this node and not disposed of; those that the collector took are counted too. */
  handles = 0;
  /** Nodes made from this one, and how many of them have their values. */
  uses = 0;
  settled = 0;
  /** Nothing can ask for it any more, so it counts no longer among the uses of its sources. */
  left = false;
  /** A flush computed it without keeping it; needed again, it is kept. */
  passed = false;
  /** Where a flush has it in its order, how often it is used there, and which walk saw it last. */
  position = 0;
  inside = 0;
  walk = 0;
  /** At most the longest way to a known value: sources may have become known since. */
  depth: number;

  constructor(op: O, src: readonly Node[], attr: Attrs[O], type: Type) {
    this.op = op;
    this.src = src;
    this.attr = attr;
    this.type = type;
    this.depth = 1;
    if (src.length === 0) return;
    for (const s of src) asPending(s).uses++;
    this.measure();
  }

  /** Sets the depth from the sources'. */
  measure(): void {
    let depth = 0;
    for (const s of this.src) {
      const p = asPending(s);
      if (p.depth > depth && p.value === null) depth = p.depth;
    }
    this.depth = depth + 1;
  }

  settle(value: Buffer): void {
    this.value = value;
    value.holders++;
    this.release();
    if (transforms > 0) settledInTransform.push(this);
    else this.leave();
  }

  /** Forgets the sources. A source without a value that nothing can ask for any more leaves its own, as though it had been computed:
   *  so `x.at(0, 0)`, once read, needs x no more. */
  leave(): void {
    const stack = [this.src];
    this.src = noSources;
    if (building) return;
    for (let src = stack.pop(); src; src = stack.pop())
      for (const source of src) {
        const s = asPending(source);
        if (s.left || s.value !== null || s.handles > 0 || s.settled !== s.uses) continue;
        s.release();
        stack.push(s.src);
      }
  }

  /** A tensor of it is gone: without another one, or a node that waits for it, its memory goes too. */
  drop(): void {
    if (--this.handles > 0 || this.uses !== this.settled) return;
    if (this.value instanceof Buffer) {
      if (--this.value.holders === 0) this.value.release();
    } else if (this.value === null && !this.left && transforms === 0) {
      this.release();
      this.leave();
    }
  }

  /** Counts no longer among the uses of its sources. */
  release(): void {
    this.left = true;
    for (const s of this.src) asPending(s).settled++;
  }
}

let walks = 0;

/** All that the roots need, sources before users, positions set; known values are leaves. */
export function cone(roots: readonly Pending[]): Pending[] {
  const walk = ++walks;
  const order: Pending[] = [];
  const stack: Pending[] = [];
  for (const root of roots) {
    if (root.walk === walk) continue;
    stack.push(root);
    for (let p = stack.at(-1); p; p = stack.at(-1)) {
      if (p.walk === walk && p.position >= 0) {
        stack.pop();
        continue;
      }
      const entered = p.walk === walk;
      p.walk = walk;
      if (!entered && p.value === null) {
        p.position = -1;
        for (let i = p.src.length - 1; i >= 0; i--) {
          const s = asPending(p.src[i] as Node);
          if (s.walk !== walk) stack.push(s);
        }
        continue;
      }
      stack.pop();
      p.position = order.length;
      p.inside = 0;
      order.push(p);
    }
  }
  return order;
}

/** Called with each node that reaches the depth at which a chain is flushed. */
let onDeep: (node: Pending) => void = () => {};
export const deepest = 1024;
let transforms = 0;
/** Whether values are made while an operation still builds its nodes, which it may use again. */
let building = false;
/** A read inside a transform may not take the sources away from under it; they go when it ends. */
const settledInTransform: Pending[] = [];

class LazyScope implements Scope {
  readonly infer = infer;

  make<O extends Op>(op: O, src: readonly Node[], attr: Attrs[O]): NodeOf<O> {
    for (const s of src)
      if (s.scope !== this)
        throw new TraceError(`${op}: a tensor of a trace (${typeText(s.type)}) was used outside it`, {
          hint: "return it from the traced function",
        });
    const node = new Pending(op, src, attr, infer(op, src, attr));
    if (node.depth >= deepest && transforms === 0) {
      building = true;
      try {
        onDeep(node);
      } finally {
        building = false;
      }
    }
    return node;
  }

  lift(node: Node): Node {
    return node;
  }

  forget(node: Node, own: (node: Node) => boolean): void {
    const stack = [node];
    for (let n = stack.pop(); n; n = stack.pop()) {
      const p = asPending(n);
      if (!own(n) || p.uses > 0 || p.handles > 0 || p.value !== null) continue;
      for (const s of n.src) {
        asPending(s).uses--;
        stack.push(s);
      }
    }
  }
}

export const lazyScope: Scope = new LazyScope();
setBaseScope(lazyScope);

export const setOnDeep = (handler: (node: Pending) => void): void => {
  onDeep = handler;
};

/** Runs a transform during which no node loses its sources. */
export function transforming<T>(body: () => T): T {
  transforms++;
  try {
    return body();
  } finally {
    transforms--;
    if (transforms === 0) for (const node of settledInTransform.splice(0)) node.leave();
  }
}

/** Remembers the graph of some roots as it is now, down to `leaves`. What comes back gives each node with its sources, in a
 *  copy where it has a value by then and has forgotten them. */
export function remember(roots: readonly Node[], leaves: ReadonlySet<Node>): () => ReadonlyMap<Node, Node> {
  const graph = topological(roots, (n) => !leaves.has(n)).map((node) => ({ node, src: node.src }));
  // Disposing of a tensor does not take away what a pull-back will ask for.
  for (const { node } of graph) if (isPending(node)) asPending(node).handles++;
  return () => {
    const now = new Map<Node, Node>();
    for (const { node, src } of graph) {
      const own = leaves.has(node) ? node.src : src.map((s) => now.get(s) as Node);
      now.set(
        node,
        own.length === node.src.length && own.every((s, i) => s === node.src[i]) ? node : revived(asPending(node), own),
      );
    }
    return now;
  };
}

function revived({ op, attr, type, value }: Pending, src: readonly Node[]): Node {
  const copy = new Pending(op, src, attr, type);
  copy.value = value;
  if (value !== null && typeof value !== "number") value.holders++;
  // Its value is there, so its sources are not waited for.
  if (value !== null) for (const s of src) asPending(s).settled++;
  return copy as unknown as Node;
}

export const isTransforming = (): boolean => transforms > 0;

export const isPending = (node: Node): boolean => node.scope === lazyScope;
export const asPending = (node: Node): Pending => node as unknown as Pending;

/** A leaf with a value. */
export function leaf(type: Type, value: Buffer | number): Node {
  const node = new Pending("param", noSources, { index: 0, name: "", type }, type);
  node.value = value;
  if (typeof value !== "number") value.holders++;
  return node;
}
