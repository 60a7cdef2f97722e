/** Which values get memory, and which are computed inside the kernels of their users. A group stores its root
 *  and has at most one anchor (a dot, a reduction, a sink such as scatter): producers are its prologue, element-wise consumers its epilogue.
 *
 *    %d = dot(%x, %w)
 *    %b = add(%d, expand(%bias))      one group: anchor %d, epilogue %b, %y; stored: %y
 *    %y = max(%b, 0)
 *
 *  A value with users in several groups, or at several places of one (itself and shifted, say), is computed for each of them when that is
 *  cheap, otherwise stored. */
import { dtypes } from "../ir/dtype.ts";
import { type Fn, nodesOf, usersOf } from "../ir/fn.ts";
import { isHost, type Node, type Op } from "../ir/node.ts";
import { isTuple } from "../ir/type.ts";
import { rowFusion } from "../kernel/row-fusion.ts";
import { define } from "../ops/table.ts";
import { elementCount, storageOf } from "./groups.ts";
import { joinGroups, type Piece } from "./join.ts";

export interface Fusion {
  /** In an order in which each reads only what is there before. Calls stand among them. */
  readonly groups: readonly Piece[];
  /** Whether a node is stored: by a group, a call or as a parameter. */
  readonly stored: ReadonlySet<Node>;
}

/** Where a group computes a value, and the part of it that is computed there. */
interface Place {
  readonly root: Node;
  readonly part: number;
}

/** Extra operations per element that recomputing may cost, in other groups or elsewhere in one, before a value is stored instead. */
const recomputeFlops = 24;
/** Nodes that one group may hold: a chain of thousands is cut, so that kernels stay of a size compilers like. */
const groupNodes = 1500;

const isAnchor = (n: Node): boolean => define<Op>(n.op).fusion !== undefined;
const isSink = (n: Node): boolean => define<Op>(n.op).fusion === "sink";
/** Calls, loops, choices. */
const runsFunctions = (n: Node): boolean => define<Op>(n.op).role === "control";
const isStoredByItself = (n: Node): boolean => (n.op === "param" && !isHost(n)) || n.op === "item";

export function fuse(fn: Fn): Fusion {
  const order = nodesOf(fn);
  const users = usersOf(order);
  const flops = inlinedFlops(order);
  const stored = new Set<Node>();
  const anchors = new Map<Node, Node>();
  /** A root's own place is one of all its readers, whoever they are, so that what several of them read in place counts once. */
  const places = new Map<Node, readonly Place[]>();
  /** The root whose epilogue a node belongs to, where the whole way there is element-wise. */
  const epilogue = new Map<Node, Node | undefined>();
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

  for (const node of order.toReversed()) {
    const own = [{ root: node, part: 1 }];
    if (isTuple(node.type)) {
      // A sink with several results is the group itself, and nothing before it is its epilogue.
      places.set(node, own);
      continue;
    }
    if (isStoredByItself(node)) {
      stored.add(node);
      continue;
    }
    const consumers = users.get(node) ?? [];
    const here = [...new Set(consumers.flatMap((c) => placesThrough(node, c, places.get(c) as readonly Place[])))];
    const ends = new Set(consumers.map((c) => epilogueThrough(node, c, epilogue.get(c))));
    const [root] = ends.size === 1 ? ends : [];
    const roots = new Set(here.map((place) => place.root));
    const full = [...roots].some((r) => (counts.get(r) ?? 0) >= groupNodes);
    const anchor = isAnchor(node);
    const joins = anchor
      ? !isSink(node) && roots.size === 1 && root && !anchors.has(root)
      : here.reduce((sum, { part }) => sum + part, -1) * (flops.get(node) ?? 0) <= recomputeFlops;
    // What is only moved is not worth storing: what it moves may be, and is often smaller.
    const moved = define(node.op).role === "movement";
    if (mustStore.has(node) || full || (!moved && roots.size > 0 && !joins)) {
      stored.add(node);
      counts.set(node, 1);
      if (anchor) anchors.set(node, node);
      epilogue.set(node, node);
      places.set(node, own);
      continue;
    }
    if (anchor && root) anchors.set(root, node);
    places.set(node, here);
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

/** Operations per element to compute a value from what is certainly stored. */
function inlinedFlops(order: readonly Node[]): Map<Node, number> {
  const flops = new Map<Node, number>();
  for (const n of order) {
    const within = isAnchor(n) || isStoredByItself(n) ? [] : n.src.filter((s) => !isAnchor(s));
    const sum = within.reduce((all, s) => all + (flops.get(s) as number), define<Op>(n.op).flops ?? 0);
    flops.set(n, Math.min(sum, 1e6));
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

/** The places of a consumer, or, where it reads elsewhere than at its own index, as many others. */
function placesThrough(node: Node, consumer: Node, places: readonly Place[]): readonly Place[] {
  const { role, fusion } = define<Op>(consumer.op);
  const isMoved = role === "movement" && consumer.op !== "reshape" && consumer.op !== "expand";
  if (!isMoved && !fusion && role !== "indexed") return places;
  const read = isMoved ? Math.min(1, elementCount(consumer) / elementCount(node)) : 1;
  return places.map(({ root, part }) => ({ root, part: part * read }));
}

/** The root that a value reaches through a consumer as part of its epilogue. */
function epilogueThrough(node: Node, consumer: Node, root: Node | undefined): Node | undefined {
  const { role } = define(consumer.op);
  const passes = role === "elementwise" || consumer.op === "reshape" || consumer.op === "assign";
  if (role === "placed") return consumer.src[0] === node ? root : undefined;
  return root && passes && elementCount(node) === elementCount(consumer) ? root : undefined;
}
