/** A group of rows as a kernel: a loop over rows around one nest for each value that is kept. Threads take blocks of rows, each
 *  with scratch memory of its own, which one row after the other uses: it stays in the first caches. */
import { topological } from "../ir/fn.ts";
import { type Node, dtypeOf } from "../ir/node.ts";
import { tensorType } from "../ir/type.ts";
import { build, min } from "../ops/build.ts";
import { addIndex, constIndex, flattenIndex, knownDims, mulIndex } from "../ops/indexing.ts";
import { makeNest, makeRange, type Item } from "./nests.ts";
import { withPicked } from "./picked.ts";
import type { Rows } from "./rows.ts";

/** Blocks of rows: many enough to be shared evenly, few enough that their scratch memory is small. */
const BLOCKS = 32;

/** Elements of a row. */
const sizeInRow = (n: Node): number =>
  knownDims(n)
    .slice(1)
    .reduce((c, d) => c * d, 1);

export interface RowLowering {
  /** The buffer of each result, in order. */
  readonly outputs: readonly Node[];
  readonly newRange: (extent: number, kind: "loop" | "reduce") => Node;
  /** Makes values of nodes at indices; a node that `kept` has is read there. */
  readonly evaluator: (
    kept: ReadonlyMap<Node, (at: readonly Node[]) => Node>,
  ) => (node: Node, at: readonly Node[]) => Node;
  /** An id that no range has. */
  readonly nextId: () => number;
}

export function lowerRows({ fn, rows, kept }: Rows, { outputs, newRange, evaluator, nextId }: RowLowering): Item[] {
  const share = Math.ceil(rows / BLOCKS);
  const blocks = Math.ceil(rows / share);
  const block = makeRange(nextId(), blocks, "outer");
  const inner = share === 1 ? constIndex(0) : makeRange(nextId(), share, "outer");
  const first = mulIndex(block, share);
  const row = addIndex(first, inner);
  const made = new Map<Node, (at: readonly Node[]) => Node>();
  const scratch = scratchOf(kept, new Set(fn.results), blocks);
  const nests = kept.map((node): Item => {
    const rest = knownDims(node).slice(1);
    const size = sizeInRow(node);
    const results = fn.results.flatMap((r, i) => (r === node ? [outputs[i] as Node] : []));
    const own = results[0] ?? scratch(node);
    const start = mulIndex(results[0] ? row : block, size);
    const place = (at: readonly Node[]): Node => addIndex(start, flattenIndex(at, rest));
    const ranges = rest.map((d) => newRange(d, "loop"));
    const value = withPicked(evaluator(made)(node, [row, ...ranges]));
    made.set(node, (at) => build("load", [own, place(at.slice(1))], {}));
    const stores = (results.length > 0 ? results : [own]).map((to) => build("store", [to, place(ranges), value], {}));
    return makeNest(
      stores,
      ranges.flatMap((r) => (r.op === "range" ? [r.attr.id] : [])),
    );
  });
  // The last block may be shorter.
  const limit =
    blocks * share === rows
      ? constIndex(share)
      : min(constIndex(share), addIndex(constIndex(rows), mulIndex(first, -1)));
  const each = inner.op === "range" ? [build("loop", [inner, limit, ...nests], { kind: "serial" })] : nests;
  return [build("loop", [block, constIndex(blocks), ...each], { kind: "parallel" })];
}

/** The scratch memory of each kept value that is no result: one array for each block. A value takes that of another of its size that
 *  no later one reads. */
function scratchOf(kept: readonly Node[], results: ReadonlySet<Node>, blocks: number): (n: Node) => Node {
  const isKept = new Set(kept);
  const lastRead = new Map<Node, number>();
  kept.forEach((node, at) => {
    for (const n of topological([node], (m) => m === node || !isKept.has(m))) if (isKept.has(n)) lastRead.set(n, at);
  });
  const own = new Map<Node, Node>();
  const free = new Map<string, Node[]>();
  const keyOf = (n: Node): string => `${dtypeOf(n)} ${sizeInRow(n)}`;
  let id = 0;
  kept.forEach((node, at) => {
    if (results.has(node)) return;
    const taken = free.get(keyOf(node))?.pop();
    const type = tensorType(dtypeOf(node), [blocks * sizeInRow(node)]);
    own.set(node, taken ?? build("scratch", [], { id: id++, type }));
    for (const [n, buffer] of own)
      if (lastRead.get(n) === at) free.set(keyOf(n), [...(free.get(keyOf(n)) ?? []), buffer]);
  });
  return (n) => own.get(n) as Node;
}
