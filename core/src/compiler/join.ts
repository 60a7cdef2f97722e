/** Joins element-wise groups over the same positions into one kernel of several results: an optimizer's moments and weights are
 *  then read and written in one sweep.
 *
 *    %m2 = add(mul(%m, b1), mul(%g, c1))                    one group: %m2, %v2, %p2
 *    %v2 = add(mul(%v, b2), mul(mul(%g, %g), c2))     →     reads %m, %v, %g, %p once
 *    %p2 = sub(%p, div(%m2, sqrt(%v2)))
 *
 *  Two groups join if one reads the other's result, or both read one value, in place; and if all else that the later one
 *  reads is there before the earlier one runs. */
import type { Node, Op } from "../ir/node.ts";
import { define } from "../ops/table.ts";
import { type Group, inputsOf, readInPlace, elementCount, storageOf } from "./groups.ts";

/** A call, or a group: what runs in turn. */
export type Piece = Group | { readonly call: Node };

interface Part {
  roots: Node[];
  readonly anchor: Node | undefined;
  readonly rows: number | undefined;
  readonly call: Node | undefined;
  inputs: Set<Node>;
  /** Inputs read only at the position that is written. */
  straight: Set<Node>;
  readonly size: number;
  /** Its place in the order. */
  position: number;
}

/** Elements. */
const smallSize = 64;

/** Results of one kernel; a kernel takes so many buffers at most. */
const mostRoots = 4;

export function joinGroups(pieces: readonly Piece[], stored: ReadonlySet<Node>): Piece[] {
  const maker = new Map<Node, Part>();
  const readers = new Map<Node, Part[]>();
  const parts: Part[] = [];
  for (const part of smallFirst(pieces.map((piece) => partOf(piece, stored)))) {
    const sources = [...part.inputs].flatMap((n) => maker.get(madeBy(n)) ?? []);
    const host = candidates(part, maker, readers).find((other) => canJoin(other, part, sources));
    if (!host) {
      part.position = parts.length;
      parts.push(part);
      settle(part, part.roots, maker, readers);
      continue;
    }
    const inside = new Set([...host.roots, ...part.roots]);
    host.straight = new Set(
      [...host.straight, ...part.straight].filter((n) => !inside.has(n) && agrees(n, host, part)),
    );
    host.inputs = new Set([...host.inputs, ...part.inputs].filter((n) => !inside.has(n)));
    host.roots = [...host.roots, ...part.roots];
    settle(host, part.roots, maker, readers);
  }
  return parts.map(({ roots, anchor, rows, call }): Piece => (call ? { call } : { roots, anchor, rows }));
}

/** Small parts that need no large one, such as a rate made from the number of the step, go to the front: what they make must not
 *  hold up a join. */
function smallFirst(parts: readonly Part[]): Part[] {
  const large = new Set<Node>();
  const isSmall = (part: Part): boolean => {
    const small = part.size >= 0 && part.size <= smallSize && ![...part.inputs].some((n) => large.has(madeBy(n)));
    if (!small) for (const r of part.roots) large.add(r);
    return small;
  };
  const small = new Set(parts.filter(isSmall));
  return [...small, ...parts.filter((p) => !small.has(p))];
}

/** An input is in place in the whole if it is so in each part that reads it. */
const agrees = (n: Node, a: Part, b: Part): boolean =>
  (!a.inputs.has(n) || a.straight.has(n)) && (!b.inputs.has(n) || b.straight.has(n));

function partOf(piece: Piece, stored: ReadonlySet<Node>): Part {
  const none = {
    anchor: undefined,
    rows: undefined,
    call: undefined,
    straight: new Set<Node>(),
    size: -1,
    position: 0,
  };
  if ("call" in piece)
    return { ...none, ...piece, roots: [piece.call], inputs: new Set(piece.call.src.map(storageOf)) };
  const roots = [...piece.roots];
  const inputs = new Set(inputsOf(roots, stored));
  const straight = new Set(piece.anchor ? [] : readInPlace(roots, inputs));
  return { ...none, ...piece, roots, inputs, straight, size: elementCount(roots[0] as Node) };
}

/** What has to run for a stored node: its call, where it is a part of one's results. */
export const madeBy = (n: Node): Node => {
  const from = n.op === "item" ? (n.src[0] as Node) : n;
  return define<Op>(from.op).role === "control" ? from : n;
};

function settle(part: Part, made: readonly Node[], maker: Map<Node, Part>, readers: Map<Node, Part[]>): void {
  for (const r of made) maker.set(r, part);
  for (const n of part.straight) {
    const list = readers.get(n);
    if (!list) readers.set(n, [part]);
    else if (!list.includes(part)) list.push(part);
  }
}

/** Earlier parts that make or read in place what this one reads in place. */
function candidates(part: Part, maker: ReadonlyMap<Node, Part>, readers: ReadonlyMap<Node, readonly Part[]>): Part[] {
  if (part.anchor || part.call) return [];
  const found = new Set<Part>();
  for (const n of part.straight) {
    const from = maker.get(n);
    if (from) found.add(from);
    for (const r of readers.get(n) ?? []) found.add(r);
  }
  return [...found];
}

function canJoin(host: Part, part: Part, sources: readonly Part[]): boolean {
  if (host.anchor || host.call || host.size !== part.size || host.roots.length + part.roots.length > mostRoots)
    return false;
  // The host stays where it is, so all that the newcomer reads besides it must come before it.
  if (sources.some((p) => p !== host && p.position >= host.position)) return false;
  return [...part.inputs].every((n) => !host.roots.includes(n) || part.straight.has(n));
}
