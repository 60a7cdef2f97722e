/** Element-wise values that one group alone reads, in place, are not stored: a group of such values becomes a part of the other.
 *
 *    %e = exp(%x)                      one group: reads %x, stores %y and %z
 *    %y = mul(%e, %e)            →
 *    %z = add(%e, 1)
 *
 *  A value that is dear to compute is stored where several groups read it (`fuse.ts`). Those may have become one since (`join.ts`). */
import { dimEqual, sizeOf } from "../ir/dim.ts";
import { topological } from "../ir/fn.ts";
import { dimsOf, type Node } from "../ir/node.ts";
import type { Fusion } from "./fuse.ts";
import { type Group, inputsOf, readInPlace, storageOf } from "./groups.ts";
import type { Piece } from "./join.ts";

/** Of a group that takes another one: chains of thousands are cut. */
const mostNodes = 400;

/** @param needed  values that are stored whoever reads them */
export function dissolve(pieces: readonly Piece[], stored: ReadonlySet<Node>, needed: ReadonlySet<Node>): Fusion {
  const left = new Set(stored);
  const readers = new Map<Node, Set<Piece>>();
  const groups: Piece[] = [];
  // Who reads a group comes after it.
  for (const piece of pieces.toReversed()) {
    if ("call" in piece) {
      groups.push(piece);
      note(piece, piece.call.src.map(storageOf), readers);
      continue;
    }
    const reader = onlyReader(piece, readers, needed);
    const isPart = reader !== undefined && takes(reader, piece, left);
    const isKept = (r: Node): boolean => !isPart && (piece.anchor !== undefined || needed.has(r) || readers.has(r));
    const roots = piece.roots.filter(isKept);
    for (const r of piece.roots) if (!roots.includes(r)) left.delete(r);
    const made = isPart ? reader : { ...piece, roots };
    if (!isPart) groups.push(made);
    note(made, inputsOf(made.roots, left), readers);
  }
  return { groups: groups.toReversed(), stored: left };
}

function note(piece: Piece, inputs: readonly Node[], readers: Map<Node, Set<Piece>>): void {
  for (const n of inputs) readers.set(n, (readers.get(n) ?? new Set()).add(piece));
}

/** The one group that reads what this one stores. */
function onlyReader(
  { roots }: Group,
  readers: ReadonlyMap<Node, ReadonlySet<Piece>>,
  needed: ReadonlySet<Node>,
): Group | undefined {
  if (roots.some((r) => needed.has(r))) return undefined;
  const [reader, ...others] = new Set(roots.flatMap((r) => [...(readers.get(r) ?? [])]));
  return reader && !("call" in reader) && others.length === 0 ? reader : undefined;
}

/** Whether both are element-wise over the same positions, and each value is computed once still. */
function takes(reader: Group, group: Group, stored: ReadonlySet<Node>): boolean {
  if (reader.anchor || group.anchor || reader.rows !== undefined || group.rows !== undefined) return false;
  const size = ({ roots: [root] }: Group) => sizeOf(dimsOf(root as Node));
  if (!dimEqual(size(reader), size(group))) return false;
  const inside = new Set(group.roots);
  if (topological(reader.roots, (n) => !stored.has(n) || inside.has(n)).length > mostNodes) return false;
  const straight = new Set(readInPlace(reader.roots, new Set(inputsOf(reader.roots, stored))));
  return group.roots.every((r) => straight.has(r));
}
