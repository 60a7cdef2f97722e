/** Where nodes live. An interning scope (a trace, a compilation) holds one node for one structure, so equality is
 *  identity; the lazy scope of pending tensor operations (`tensor/pending.ts`) does not. The current scope is a stack that only
 *  synchronous code changes. */
import { VerifyError } from "../errors.ts";
import { attrHash, attrSame, mixHash } from "./attr.ts";
import type { Attrs, Node, NodeOf, Op } from "./node.ts";
import { type Type, typeText } from "./type.ts";

/** The shape, dtype and legality of one op, from the op table. */
export type Infer = <O extends Op>(op: O, src: readonly Node[], attr: Attrs[O]) => Type;

export interface Scope {
  readonly infer: Infer;
  /** The node for this structure, typed by the op table. Sources of other scopes are first brought in by `lift`. `site`: the user's
   *  line, where a node of another scope had one. */
  make<O extends Op>(op: O, src: readonly Node[], attr: Attrs[O], site?: string): NodeOf<O>;
  /** The node of this scope that stands for a node of another one. */
  lift(node: Node): Node;
  /** Says that a node will not be used, where the scope keeps count of that; and neither will what was made for it, as far as
   *  `own` tells. */
  forget?(node: Node, own: (node: Node) => boolean): void;
}

let nextId = 0;

let origin: string | undefined;

/** Runs what makes nodes on behalf of one that the user's code made, as its derivative: they are of its line. */
export function onBehalf<T>(site: string | undefined, body: () => T): T {
  const before = origin;
  origin = site ?? before;
  try {
    return body();
  } finally {
    origin = before;
  }
}

/** The structural hash of a node from its parts. */
export function hashNode<O extends Op>(op: O, src: readonly Node[], attr: Attrs[O]): number {
  let h = attrHash(op, attr);
  for (const s of src) h = mixHash(h, s.hash);
  return h;
}

export class InternScope implements Scope {
  readonly infer: Infer;
  /** By hash; nodes of one hash are a list. */
  readonly #nodes = new Map<number, Node | Node[]>();
  #size = 0;
  /** Says where the user's code was when a node was made; absent in compilation, where nobody's code runs. */
  readonly #site: (() => string | undefined) | undefined;

  constructor(infer: Infer, site?: () => string | undefined) {
    this.infer = infer;
    this.#site = site;
  }

  get size(): number {
    return this.#size;
  }

  make<O extends Op>(op: O, src: readonly Node[], attr: Attrs[O], from?: string): NodeOf<O> {
    let own = true;
    for (const s of src) if (s.scope !== this) own = false;
    if (!own)
      return this.make(
        op,
        src.map((s) => (s.scope === this ? s : this.lift(s))),
        attr,
        from,
      );
    const hash = hashNode(op, src, attr);
    const known = this.#find(hash, op, src, attr);
    if (known) return known as unknown as NodeOf<O>;
    const type = this.infer(op, src, attr);
    const site = from ?? origin ?? this.#site?.();
    const node = Object.freeze({
      id: nextId++,
      op,
      src: Object.freeze([...src]),
      attr,
      type,
      scope: this,
      hash,
      site,
    });
    this.#keep(node as unknown as Node);
    return node;
  }

  #find(hash: number, op: Op, src: readonly Node[], attr: object): Node | undefined {
    const found = this.#nodes.get(hash);
    if (found === undefined) return undefined;
    if (Array.isArray(found)) return found.find((n) => isNode(n, op, src, attr));
    return isNode(found, op, src, attr) ? found : undefined;
  }

  #keep(node: Node): void {
    const found = this.#nodes.get(node.hash);
    this.#size++;
    if (found === undefined) this.#nodes.set(node.hash, node);
    else if (Array.isArray(found)) found.push(node);
    else this.#nodes.set(node.hash, [found, node]);
  }

  lift(node: Node): Node {
    throw new VerifyError(`${node.op}: a node of another scope (${typeText(node.type)}) was used while compiling`, {
      hint: "copy it with instantiate() first",
    });
  }
}

/** Whether a node is the one of this structure. */
function isNode(n: Node, op: Op, src: readonly Node[], attr: object): boolean {
  if (n.op !== op || n.src.length !== src.length) return false;
  for (let i = 0; i < src.length; i++) if (n.src[i] !== src[i]) return false;
  // Most of all nodes that are asked for again are constants.
  if (n.op !== "const") return attrSame(n.attr, attr);
  const { value, dtype } = attr as Attrs["const"];
  return Object.is(n.attr.value, value) && n.attr.dtype === dtype;
}

/** A node like another, with other sources, in `scope`. */
export const remake = (scope: Scope, node: Node, src: readonly Node[]): Node =>
  scope.make<Op>(node.op, src, node.attr, node.site) as Node;

export const freshId = (): number => nextId++;

const stack: Scope[] = [];

/** The scope in which the builders of `ops/build.ts` make nodes.
 *  @throws VerifyError if there is none */
export function currentScope(): Scope {
  const scope = stack.at(-1);
  if (!scope) throw new VerifyError("no scope: build nodes inside within(scope, …)");
  return scope;
}

/** Runs `body` with `scope` current. */
export function within<T>(scope: Scope, body: () => T): T {
  stack.push(scope);
  try {
    return body();
  } finally {
    stack.pop();
  }
}

/** Makes `scope` current under all others, for code that runs outside any trace. */
export function setBaseScope(scope: Scope): void {
  stack[0] = scope;
}
