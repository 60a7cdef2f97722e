/** Which values get memory, and which are computed inside the kernels of their users. A group stores its root
 *  and has at most one anchor (a dot, a reduction, a sink such as scatter): producers are its prologue, element-wise consumers its epilogue.
 *
 *    %d = dot(%x, %w)
 *    %b = add(%d, expand(%bias))      one group: anchor %d, epilogue %b, %y; stored: %y
 *    %y = max(%b, 0)
 *
 *  A value with users in several groups is computed in each of them when that is cheap, otherwise stored. */
import { dimEqual, sizeOf } from "../ir/dim.ts";
import { dtypes } from "../ir/dtype.ts";
import { type Fn, nodesOf } from "../ir/fn.ts";
import { dimsOf, type Node, type Op } from "../ir/node.ts";
import { isTuple } from "../ir/type.ts";
import { rowFusion } from "../kernel/row-fusion.ts";
import { define } from "../ops/table.ts";
import { storageOf } from "./groups.ts";
import { joinGroups, type Piece } from "./join.ts";

export interface Fusion {
  /** In an order in which each reads only what is there before. Calls stand among them. */
  readonly groups: readonly Piece[];
  /** Whether a node is stored: by a group, a call or as a parameter. */
  readonly stored: ReadonlySet<Node>;
}

/** Extra operations per element that recomputing in other groups may cost before a value is stored instead. */
const recomputeFlops = 24;
/** Nodes that one group may hold: a chain of thousands is cut, so that kernels stay of a size compilers like. */
const groupNodes = 1500;

const isAnchor = (n: Node): boolean => define<Op>(n.op).fusion !== undefined;
const isSink = (n: Node): boolean => define<Op>(n.op).fusion === "sink";
/** Calls, loops, choices. */
const runsFunctions = (n: Node): boolean => define<Op>(n.op).role === "control";
const isStoredByItself = (n: Node): boolean => (n.op === "param" && !isHost(n)) || n.op === "item";
const isHost = (n: Node): boolean => !isTuple(n.type) && n.type.space === "host";

export function fuse(fn: Fn): Fusion {
  const order = nodesOf(fn);
  const users = usersOf(order);
  const flops = inlinedFlops(order);
  const stored = new Set<Node>();
  const anchors = new Map<Node, Node>();
  /** Roots of the groups in which a node is computed. */
  const homes = new Map<Node, Set<Node>>();
  /** The root whose epilogue a node belongs to, where the whole way there is element-wise. */
  const epilogue = new Map<Node, Node | null>();
  const counts = new Map<Node, number>();

  const mustStore = new Set<Node>();
  const need = (n: Node) => {
    const s = storageOf(n);
    if (!isStoredByItself(s)) mustStore.add(s);
  };
  for (const r of fn.results) need(r);
  for (const n of order) {
    const { rereads, role } = define<Op>(n.op);
    if (role === "control") n.src.forEach(need);
    if (role === "placed") need(n);
    if (rereads)
      n.src.forEach(
        (s) => needsMaterial(s, flops, rereads === "unmasked") && need(rereads === "casts" ? s : firstComputed(s)),
      );
  }

  for (let i = order.length - 1; i >= 0; i--) {
    const node = order[i] as Node;
    if (isTuple(node.type)) continue;
    if (isStoredByItself(node)) {
      stored.add(node);
      continue;
    }
    const consumers = users.get(node) ?? [];
    const roots = new Set<Node>();
    let flows: Node | null | undefined;
    for (const c of consumers) {
      if (isTuple(c.type)) {
        // Of a sink with several results: it is the group itself, and nothing before it is its epilogue.
        roots.add(c);
        flows = null;
        continue;
      }
      for (const root of stored.has(c) ? [c] : (homes.get(c) ?? [])) roots.add(root);
      const next = epilogueThrough(node, c, stored.has(c) ? c : (epilogue.get(c) ?? null));
      flows = flows === undefined || flows === next ? next : null;
    }
    const root = flows ?? null;
    const full = [...roots].some((r) => (counts.get(r) ?? 0) >= groupNodes);
    const anchor = isAnchor(node);
    const joins = anchor
      ? !isSink(node) && roots.size === 1 && root !== null && !anchors.has(root)
      : (flops.get(node) ?? 0) * (roots.size - 1) <= recomputeFlops;
    // What is only moved is not worth storing: what it moves may be, and is often smaller.
    const moved = define(node.op).role === "movement";
    if (mustStore.has(node) || full || (!moved && roots.size > 0 && !joins)) {
      stored.add(node);
      counts.set(node, 1);
      if (anchor) anchors.set(node, node);
      epilogue.set(node, node);
      continue;
    }
    if (anchor && root) anchors.set(root, node);
    homes.set(node, roots);
    epilogue.set(node, root);
    for (const r of roots) counts.set(r, (counts.get(r) ?? 0) + 1);
  }

  const groups = order.flatMap((n): Piece[] => {
    if (runsFunctions(n)) return [{ call: n }];
    // Its parts are what is stored.
    if (isTuple(n.type) && isSink(n))
      return [{ roots: (users.get(n) ?? []).filter((u) => u.op === "item"), anchor: n }];
    return stored.has(n) && !isStoredByItself(n) ? [{ roots: [n], anchor: anchors.get(n) }] : [];
  });
  return rowFusion()?.join(groups, stored, mustStore) ?? { groups: joinGroups(groups, stored), stored };
}

function usersOf(order: readonly Node[]): Map<Node, Node[]> {
  const users = new Map<Node, Node[]>();
  for (const n of order)
    for (const s of n.src) {
      const list = users.get(s);
      if (list) list.push(n);
      else users.set(s, [n]);
    }
  return users;
}

/** Operations per element to compute a value from what is certainly stored. */
function inlinedFlops(order: readonly Node[]): Map<Node, number> {
  const flops = new Map<Node, number>();
  for (const n of order) {
    const own = isStoredByItself(n) || isTuple(n.type) ? 0 : (define(n.op).flops ?? 0);
    const below =
      isAnchor(n) || isStoredByItself(n)
        ? 0
        : n.src.reduce((sum, s) => sum + (isAnchor(s) ? 0 : (flops.get(s) ?? 0)), 0);
    flops.set(n, Math.min(own + below, 1e6));
  }
  return flops;
}

/** An operand of a product is read many times: anything that computes is stored first; movement and casts ride along, and a single
 *  operation, unless it can be the epilogue of what is stored in any case. */
function needsMaterial(operand: Node, flops: ReadonlyMap<Node, number>, unmasked: boolean): boolean {
  const n = firstComputed(operand);
  const masked = n.op === "pad" || n.op === "concat";
  if (isStoredByItself(n) || isHost(n)) return false;
  const ends = isAnchor(n) || n.src.some((s) => isAnchor(firstComputed(s)));
  return ends || (flops.get(n) ?? 0) > 1 || (unmasked && masked);
}

/** The node below movements and casts; one to a byte is computed, so that bytes are stored of what is rounded to them. */
function firstComputed(node: Node): Node {
  let n = node;
  while (
    (define(n.op).role === "movement" && n.src.length === 1 && n.op !== "pad") ||
    (n.op === "cast" && dtypes[n.attr.dtype].bytes > 1)
  )
    n = n.src[0] as Node;
  return n;
}

/** The root that a value reaches through a consumer as part of its epilogue, or null. */
function epilogueThrough(node: Node, consumer: Node, root: Node | null): Node | null {
  if (root === null) return null;
  const { role } = define(consumer.op);
  const passes = role === "elementwise" || consumer.op === "reshape" || consumer.op === "assign";
  if (role === "placed") return consumer.src[0] === node ? root : null;
  return passes && dimEqual(sizeOf(dimsOf(node)), sizeOf(dimsOf(consumer))) ? root : null;
}
