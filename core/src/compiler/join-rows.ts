/** Joins groups that compute the same rows into one kernel: a reduction along rows, what it is made of and what is made with it.
 *
 *    %m = reduce max(%x) {1}                                  one group: reads %x, stores %y
 *    %s = reduce sum(exp(sub(%x, expand(%m)))) {1}      →     %m and %s are a row's own, in scratch memory
 *    %y = div(exp(sub(%x, expand(%m))), expand(%s))
 *
 *  Softmax, log-sum-exp, norms, cross entropy and what their backward passes leave are such chains, whoever wrote them. */
import { type Fn, topological } from "../ir/fn.ts";
import { dimsOf, type Node } from "../ir/node.ts";
import { lowerRows } from "../kernel/lower-rows.ts";
import { addRowFusion, type RowFusion } from "../kernel/row-fusion.ts";
import { readByRows, rowAxes, rowsOf, rowsOfReduction } from "../kernel/rows.ts";
import { dissolve } from "./dissolve.ts";
import { inputsOf, readInPlace, storageOf } from "./groups.ts";
import { joinGroups, madeBy, type Piece } from "./join.ts";

interface Part {
  readonly call: Node | undefined;
  anchor: Node | undefined;
  roots: readonly Node[];
  inputs: ReadonlySet<Node>;
  /** Set where it holds a reduction along rows. */
  rows: number | undefined;
  /** Whether several groups became this one. */
  joined: boolean;
  position: number;
}

/** Fewer rows than this are not enough to share, shorter ones not enough to be worth a turn of the loop; of longer ones what is
 *  kept would leave the second cache. */
const fewestRows = 8;
const shortest = 16;
const longest = 65_536;
const mostRoots = 6;
const mostNodes = 400;

/** From here on groups along the same rows become one, and are computed row by row. */
export const fuseRows = (): void =>
  addRowFusion({ join: joinAll, rowsOf, lower: lowerRows, overwritten: overwrittenRows });

const joinAll: RowFusion["join"] = (pieces, stored, needed) => {
  const { groups, stored: left } = joinRows(pieces, stored, needed);
  return dissolve(joinGroups(groups, left), left, needed);
};

const joinRows: RowFusion["join"] = (pieces, stored, needed) => {
  const maker = new Map<Node, Part>();
  const readers = new Map<Node, Part[]>();
  const parts: Part[] = [];
  for (const piece of pieces) {
    const part = partOf(piece, stored);
    const made = part.inputs;
    const sources = new Map(
      [...made].flatMap((n) => {
        const from = maker.get(madeBy(n));
        return from ? [[n, from] as const] : [];
      }),
    );
    let into: Part | undefined;
    for (const host of new Set([...sources.values(), ...[...made].flatMap((n) => readers.get(n) ?? [])])) {
      const early = [...sources.values()].every((p) => p === host || p.position < host.position);
      if (early && join(host, part)) {
        into = host;
        break;
      }
    }
    if (!into) {
      into = part;
      part.position = parts.length;
      parts.push(part);
    }
    for (const r of part.roots) maker.set(r, into);
    if (into.rows === undefined) continue;
    for (const n of into.inputs) {
      const list = readers.get(n) ?? [];
      if (!list.includes(into)) readers.set(n, [...list, into]);
    }
  }
  if (parts.length === pieces.length) return { groups: pieces, stored };
  const read = new Set([...needed, ...parts.flatMap((p) => [...p.inputs])]);
  const left = new Set(stored);
  const result = parts.map((part): Piece => {
    if (part.call) return { call: part.call };
    const roots = part.joined ? part.roots.filter((r) => read.has(r)) : part.roots;
    for (const r of part.roots) if (!roots.includes(r)) left.delete(r);
    return { roots, anchor: part.anchor, ...(part.joined ? { rows: part.rows } : {}) };
  });
  return { groups: result, stored: left };
};

function partOf(piece: Piece, stored: ReadonlySet<Node>): Part {
  if ("call" in piece) {
    const { call } = piece;
    return {
      call,
      anchor: undefined,
      roots: [call],
      inputs: new Set(call.src.map(storageOf)),
      rows: undefined,
      joined: false,
      position: 0,
    };
  }
  const { roots, anchor } = piece;
  const inputs = new Set(inputsOf(roots, stored));
  return { call: undefined, anchor, roots, inputs, rows: anchor && fittingRows(anchor), joined: false, position: 0 };
}

/** The rows of a reduction along rows of a fitting size. */
function fittingRows(anchor: Node): number | undefined {
  const rows = rowsOfReduction(anchor);
  if (rows === undefined || anchor.op !== "reduce") return undefined;
  const dims = dimsOf(anchor.src[0] as Node);
  const size = dims.slice(dims.length - anchor.attr.axes.length).reduce<number>((n, d) => n * Number(d), 1);
  return rows >= fewestRows && size >= shortest && size <= longest ? rows : undefined;
}

const isOpen = ({ call, anchor, rows }: Part): boolean => !call && (anchor === undefined || rows !== undefined);

/** Takes a part into an earlier one where both are rows of one number. */
function join(host: Part, part: Part): boolean {
  const rows = host.rows ?? part.rows;
  if (rows === undefined || !isOpen(host) || !isOpen(part) || (part.rows ?? rows) !== rows) return false;
  const roots = [...host.roots, ...part.roots];
  if (roots.length > mostRoots && !host.joined) return false;
  if (roots.some((r) => rowAxes(dimsOf(r), rows) === undefined)) return false;
  const inside = new Set(roots);
  const inputs = new Set([...host.inputs, ...part.inputs].filter((n) => !inside.has(n)));
  const order = topological(roots, (n) => !inputs.has(n) && n.op !== "param").filter((n) => !inputs.has(n));
  if (order.length > mostNodes) return false;
  const straight = readByRows(order, roots, rows);
  if (!order.every((n) => (n.op !== "reduce" && !inside.has(n)) || straight.has(n))) return false;
  host.roots = roots;
  host.inputs = inputs;
  host.rows = rows;
  host.anchor = host.anchor ?? part.anchor;
  host.joined = true;
  return true;
}

/** The parameters of a group of rows that a result may lie over: none of a row is read after the first result of that row is
 *  stored, and while it is stored only the element in its place. */
function overwrittenRows(group: Fn): number[] {
  const rows = rowsOf(group);
  if (!rows) return [];
  const { fn, kept, byRow } = rows;
  const first = kept.findIndex((n) => fn.results.includes(n));
  const steps = kept.map((n) => {
    const others = new Set<Node>([...kept.filter((k) => k !== n), ...fn.params]);
    return { reads: new Set(topological([n], (m) => !others.has(m))), straight: readInPlace([n], others) };
  });
  const isPast = (p: Node): boolean =>
    steps.every((s, at) => !s.reads.has(p) || at < first || (at === first && s.straight.includes(p)));
  return fn.params.flatMap((p, i) => (byRow[i] && isPast(p) ? [i] : []));
}
