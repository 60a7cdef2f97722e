/** Which groups are made of rows: R of them, each computed by itself, with reductions along it. A softmax and a norm over the
 *  last axes are such. Their kernel is one loop over rows around nests that hold a row's values in scratch memory, so that
 *  nothing as large as all rows is stored between them (see `lower-rows.ts`).
 *
 *    %m = reduce max(%x) {1}              for r:   m[0] = max x(r, k) over k
 *    %e = exp(sub(%x, expand(%m)))    →            for k: e[k] = exp(x(r, k) − m[0])
 *    %y = div(%e, expand(sum(%e)))                 s[0] = sum e[k] over k
 *                                                  for k: y(r, k) = e[k] / s[0]
 */
import type { Dim } from "../ir/dim.ts";
import { copy } from "../ir/copy.ts";
import { type Fn, makeFn, topological } from "../ir/fn.ts";
import { dimsOf, dtypeOf, type Node, type NodeOf } from "../ir/node.ts";
import { remake, type Scope, within } from "../ir/scope.ts";
import { tensorType } from "../ir/type.ts";
import { expand, permute, reduce, reshape } from "../ops/build.ts";
import { define, newScope } from "../ops/table.ts";

/** How many leading axes make up the rows, or undefined where no number of them does. */
export function rowAxes(dims: readonly Dim[], rows: number): number | undefined {
  let count = 1;
  for (let a = 0; a < dims.length; a++) {
    if (count === rows) return a;
    const d = dims[a];
    if (typeof d !== "number") return undefined;
    count *= d;
  }
  return count === rows ? dims.length : undefined;
}

/** The rows of a reduction over all its last axes, or undefined. */
export function rowsOfReduction(y: Node): number | undefined {
  if (y.op !== "reduce") return undefined;
  const dims = dimsOf(y.src[0] as Node);
  const kept = dims.length - y.attr.axes.length;
  if (y.attr.axes.some((a) => a < kept)) return undefined;
  return dims
    .slice(0, kept)
    .reduce<number | undefined>((n, d) => (n !== undefined && typeof d === "number" ? n * d : undefined), 1);
}

/** Whether each row of a node is made of the same row of its sources. */
export function keepsRows(n: Node, rows: number): boolean {
  const own = rowAxes(dimsOf(n), rows);
  const sources = n.src.map((s) => rowAxes(dimsOf(s), rows));
  if (own === undefined || sources.includes(undefined)) return false;
  const [from] = sources as [number | undefined];
  switch (n.op) {
    case "reshape":
      return true;
    case "expand":
      return (
        from === own &&
        dimsOf(n.src[0] as Node)
          .slice(0, own)
          .every((d, a) => d === dimsOf(n)[a])
      );
    case "permute":
      return from === own && n.attr.axes.slice(0, own).every((axis, a) => axis === a);
    case "reduce":
      return n.attr.axes.every((a) => a >= (from ?? 0));
    case "stopGradient":
    case "alias":
    case "assign":
      return true;
    default:
      return define(n.op).role === "elementwise";
  }
}

/** The nodes of which a row is read only to make the same row of a result. */
export function readByRows(order: readonly Node[], results: readonly Node[], rows: number): Set<Node> {
  const straight = new Set<Node>(results.filter((r) => rowAxes(dimsOf(r), rows) !== undefined));
  const moved = new Set<Node>();
  for (const n of order.toReversed()) {
    const keeps = straight.has(n) && !moved.has(n) && keepsRows(n, rows);
    for (const s of n.src) (keeps ? straight : moved).add(s);
  }
  return new Set([...straight].filter((n) => !moved.has(n)));
}

export interface Rows {
  /** The function with rows as the first axis of everything that is read by rows. */
  readonly fn: Fn;
  readonly rows: number;
  /** By parameter of the function: whether a row of it is read only to make that row of the results. */
  readonly byRow: readonly boolean[];
  /** The values that get memory, sources first: reductions, results, and what is dear and read by several of them. */
  readonly kept: readonly Node[];
}

/** The rows of a group that one loop nest cannot compute; undefined where it can, or where there are none. */
export function rowsOf(group: Fn): Rows | undefined {
  const known = analysed.get(group);
  if (known !== undefined) return known ?? undefined;
  const rows = analyse(group);
  analysed.set(group, rows ?? null);
  return rows;
}

const analysed = new WeakMap<Fn, Rows | null>();

function analyse(group: Fn): Rows | undefined {
  const order = topological(group.results);
  const reductions = order.filter((n) => n.op === "reduce");
  const [first] = reductions;
  const rows = first && rowsOfReduction(first);
  if (rows === undefined || rows < 2) return undefined;
  const single = reductions.length === 1 && group.results.every((r) => rowAxes(dimsOf(r), rows) === dimsOf(r).length);
  if (single) return undefined;
  const straight = readByRows(order, group.results, rows);
  if (![...reductions, ...group.results].every((n) => straight.has(n))) return undefined;
  const fn = canonical(group, order, straight, rows);
  return { fn, rows, kept: keptOf(fn), byRow: group.params.map((p) => straight.has(p)) };
}

/** Rebuilt with dims [rows, ...] wherever rows are rows; what is read in another way stays and is reshaped where they meet. */
function canonical(group: Fn, order: readonly Node[], straight: ReadonlySet<Node>, rows: number): Fn {
  const scope = newScope();
  return within(scope, () => {
    const plain = new Map<Node, Node>();
    const made = new Map<Node, Node>();
    const params = group.params.map((p) => {
      const param = rebuiltParam(scope, p, straight.has(p) ? rowDims(p, rows) : undefined);
      (straight.has(p) ? made : plain).set(p, param);
      return param;
    });
    const plainOf = (n: Node): Node => copy([n], plain)[0] as Node;
    const rowsOfNode = (n: Node): Node => {
      const known = made.get(n);
      if (known) return known;
      // Bits are counted by element, so their dims are any that hold as many.
      if (n.op === "random" && n.attr.words === 1)
        return scope.make("random", n.src.map(plainOf), { dims: rowDims(n, rows), words: 1 });
      return reshape(plainOf(n), rowDims(n, rows));
    };
    for (const n of order) {
      if (!straight.has(n) || made.has(n)) continue;
      made.set(
        n,
        keepsRows(n, rows) && n.src.length > 0 ? inRows(scope, n, n.src.map(rowsOfNode), rows) : rowsOfNode(n),
      );
    }
    return makeFn(
      group.name,
      params,
      group.results.map((r) => made.get(r) as Node),
    );
  });
}

const rowDims = (n: Node, rows: number): Dim[] => [rows, ...dimsOf(n).slice(rowAxes(dimsOf(n), rows))];

function rebuiltParam(scope: Scope, p: NodeOf<"param">, dims: readonly Dim[] | undefined): NodeOf<"param"> {
  if (!dims || "tuple" in p.type) return scope.make("param", [], p.attr);
  return scope.make("param", [], { ...p.attr, type: tensorType(dtypeOf(p), dims, p.type.space) });
}

function inRows(scope: Scope, n: Node, src: readonly Node[], rows: number): Node {
  const x = src[0] as Node;
  const behind = (axes: readonly number[], from: Node): number[] =>
    axes.map((a) => a + 1 - (rowAxes(dimsOf(from), rows) as number));
  switch (n.op) {
    case "reshape":
      return reshape(x, rowDims(n, rows));
    case "expand":
      return expand(x, rowDims(n, rows));
    case "permute":
      return permute(x, [0, ...behind(n.attr.axes.slice(rowAxes(dimsOf(n), rows)), n)]);
    case "reduce":
      return reduce(n.attr.kind, x, behind(n.attr.axes, n.src[0] as Node));
    default:
      return remake(scope, n, src);
  }
}

/** Operations per element from which on a value that several nests read is kept in memory rather than computed in each. */
const dearFlops = 6;

function keptOf(fn: Fn): Node[] {
  const order = topological(fn.results);
  const rows = dimsOf(fn.results[0] as Node)[0] as number;
  const straight = readByRows(order, fn.results, rows);
  const kept = new Set<Node>(fn.results);
  /** The kept values in whose nests a node is computed. */
  const homes = new Map<Node, Set<Node>>();
  for (const n of order.toReversed()) {
    const own = homes.get(n);
    const isRows = straight.has(n) && rowAxes(dimsOf(n), rows) === 1;
    const isDear = isRows && (define(n.op).flops ?? 0) >= dearFlops && (own?.size ?? 0) > 1;
    if (n.op === "reduce" || isDear) kept.add(n);
    const into = kept.has(n) ? new Set([n]) : (own ?? new Set<Node>());
    for (const s of n.src) homes.set(s, new Set([...(homes.get(s) ?? []), ...into]));
  }
  return order.filter((n) => kept.has(n));
}
