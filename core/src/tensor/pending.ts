/** Pending operations: what a tensor is before somebody needs its value. The lazy scope does not intern, so a pending node
 *  lives exactly as long as some tensor or later node needs it; and a node whose value is known forgets its sources. */
import type { Attrs, Node, NodeOf, Op } from "../ir/node.ts";
import { freshId, type Scope, setBaseScope } from "../ir/scope.ts";
import type { Type } from "../ir/type.ts";
import { infer } from "../ops/table.ts";
import type { Buffer } from "../runtime/buffer.ts";

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
  /** Nodes made from this one, and how many of them have their values. */
  uses = 0;
  settled = 0;
  /** A flush computed it without keeping it; needed again, it is kept. */
  passed = false;
  /** At most the longest way to a known value: sources may have become known since. */
  depth: number;

  constructor(op: O, src: readonly Node[], attr: Attrs[O], type: Type) {
    this.op = op;
    this.src = src;
    this.attr = attr;
    this.type = type;
    for (const s of src) asPending(s).uses++;
    this.depth = 0;
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
    for (const s of this.src) (s as unknown as Pending).settled++;
    this.src = [];
  }
}

/** Called with each node that reaches the depth at which a chain is flushed. */
let onDeep: (node: Pending) => void = () => {};
export const deepest = 1024;
let transforms = 0;

class LazyScope implements Scope {
  readonly infer = infer;

  make<O extends Op>(op: O, src: readonly Node[], attr: Attrs[O]): NodeOf<O> {
    const node = new Pending(op, src, attr, infer(op, src, attr));
    if (node.depth >= deepest && transforms === 0) onDeep(node as unknown as Pending);
    return node;
  }

  lift(node: Node): Node {
    return node;
  }
}

export const lazyScope: Scope = new LazyScope();
setBaseScope(lazyScope);

export const setOnDeep = (handler: (node: Pending) => void): void => {
  onDeep = handler;
};

/** Runs a transform during which no node may lose its sources. */
export function transforming<T>(body: () => T): T {
  transforms++;
  try {
    return body();
  } finally {
    transforms--;
  }
}

export const isTransforming = (): boolean => transforms > 0;

export const isPending = (node: Node): boolean => node.scope === lazyScope;
export const asPending = (node: Node): Pending => node as unknown as Pending;

/** A leaf with a value. */
export function leaf(type: Type, value: Buffer | number): Node {
  const node = new Pending("param", [], { index: 0, name: "", type }, type);
  node.value = value;
  return node as unknown as Node;
}
