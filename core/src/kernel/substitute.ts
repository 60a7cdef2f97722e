/** Rebuilds expressions of a kernel with other ranges. Indices are built anew by the constructors of ops/indexing.ts, so that
 *  what the new bounds decide (a quotient, a mask) is decided. */
import { carrierOf } from "../ir/dtype.ts";
import { topological } from "../ir/fn.ts";
import { dtypeOf, type Node } from "../ir/node.ts";
import { currentScope, remake } from "../ir/scope.ts";
import { build, cast, scalar } from "../ops/build.ts";
import { affine, allOf, bounds, divIndex, modIndex, sumIndex } from "../ops/indexing.ts";
import type { RangeNode } from "./nests.ts";

export interface Substitution {
  /** The index that takes the place of a range; undefined where the range stays. */
  readonly range: (r: RangeNode) => Node | undefined;
  /** The ranges over which an accumulate runs instead. By default the range that `range` gives. */
  readonly over?: (r: RangeNode) => readonly Node[] | undefined;
  /** Ranges, outermost first, whose row-major combination is one flat range: sums that only use it that way use that range. */
  readonly chain?: { readonly ranges: readonly RangeNode[]; readonly flat: Node };
  /** A node that takes the place of another, given the rebuilt sources. */
  readonly node?: (n: Node, src: readonly Node[]) => Node | undefined;
  /** A condition under which alone loads for which `needs` holds may touch memory. */
  readonly guard?: { readonly condition: Node; readonly needs: (index: Node, buffer: Node) => boolean };
}

/** The rebuilt roots. */
export const substitute = (roots: readonly Node[], s: Substitution): Node[] => substitutions(roots)(s);

/** Rebuilds the same roots several times. `enter` may stop at nodes that stay as they are, which `Substitution.node` then says too. */
export function substitutions(roots: readonly Node[], enter?: (n: Node) => boolean): (s: Substitution) => Node[] {
  const order = topological(roots, enter);
  const positions = indexPositions(order);
  return (s) => {
    const made = new Map<Node, Node>();
    const of = (n: Node): Node => made.get(n) ?? n;
    for (const n of order) made.set(n, rebuild(n, of, positions, s));
    return roots.map(of);
  };
}

const indexOps: ReadonlySet<string> = new Set(["add", "mul", "idiv", "mod", "lt", "and"]);

/** The nodes that make up the indices and masks of loads and stores. */
function indexPositions(order: readonly Node[]): Set<Node> {
  const found = new Set<Node>();
  const add = (n: Node | undefined): void => {
    if (n && indexOps.has(n.op)) found.add(n);
  };
  for (let i = order.length - 1; i >= 0; i--) {
    const n = order[i] as Node;
    if (n.op === "load") [n.src[1], n.src[2]].forEach(add);
    else if (n.op === "store") [n.src[1], n.src[3]].forEach(add);
    else if (found.has(n)) n.src.forEach(add);
  }
  return found;
}

const fitsI32 = (n: Node): boolean => {
  const [lo, hi] = bounds(n);
  return lo > -(2 ** 31) && hi < 2 ** 31 - 1;
};

const isFalse = (n: Node | undefined): boolean => n?.op === "const" && n.attr.value === 0;
const isTrue = (n: Node | undefined): boolean => n?.op === "const" && n.attr.value !== 0;

/** A node anew.
 *
 *  @param of         what the nodes below it have become
 *  @param positions  index arithmetic, which does not wrap around whatever its bounds are */
export function rebuild(n: Node, of: (n: Node) => Node, positions: ReadonlySet<Node>, s: Substitution): Node {
  if (n.op === "range") return s.range(n) ?? n;
  const src = n.src.map(of);
  const replaced = s.node?.(n, src);
  if (replaced) return replaced;
  switch (n.op) {
    case "const":
    case "param":
    case "scratch":
      return n;
    case "add":
    case "mul":
    case "idiv":
    case "mod":
      if (dtypeOf(n) === "i32" && (positions.has(n) || fitsI32(n))) return indexOf(n, of, s);
      break;
    case "lt":
      if (dtypeOf(n.src[0] as Node) === "i32") return below(src[0] as Node, src[1] as Node);
      break;
    case "and":
      if (src.some(isFalse) && dtypeOf(n) === "bool") return scalar(0, "bool");
      if (dtypeOf(n) === "bool" && src.some(isTrue)) return (isTrue(src[0]) ? src[1] : src[0]) as Node;
      break;
    case "where":
      if (src[0]?.op === "const") return (isTrue(src[0]) ? src[1] : src[2]) as Node;
      break;
    case "load": {
      const [buffer, index, mask] = src as [Node, Node, Node | undefined];
      if (isFalse(mask)) return zero(n);
      const own = isTrue(mask) ? undefined : mask;
      const all = s.guard?.needs(index, buffer) ? allOf([own, s.guard.condition]) : own;
      return build("load", [buffer, index, ...(all ? [all] : [])], {});
    }
    case "store":
      return build("store", isTrue(src[3]) ? src.slice(0, 3) : src, {});
    case "accumulate": {
      const ranges = n.src.slice(1).flatMap((r) => s.over?.(r as RangeNode) ?? [of(r)]);
      return build("accumulate", [src[0] as Node, ...ranges.filter((r) => r.op === "range")], n.attr);
    }
    default:
  }
  return remake(currentScope(), n, src);
}

function zero(load: Node): Node {
  const dtype = dtypeOf(load);
  return cast(scalar(0, carrierOf(dtype)), dtype);
}

/** `a < b`, decided where the bounds do. Sums that may wrap around decide nothing. */
function below(a: Node, b: Node): Node {
  if (!fitsI32(a) || !fitsI32(b)) return build("lt", [a, b], {});
  if (b.op === "const" && bounds(a)[1] < b.attr.value) return scalar(1, "bool");
  if (b.op === "const" && bounds(a)[0] >= b.attr.value) return scalar(0, "bool");
  if (a.op === "const" && bounds(b)[0] > a.attr.value) return scalar(1, "bool");
  if (a.op === "const" && bounds(b)[1] <= a.attr.value) return scalar(0, "bool");
  return build("lt", [a, b], {});
}

function indexOf(n: Node, of: (n: Node) => Node, s: Substitution): Node {
  const { constant, terms } = affine(n);
  const divisor = n.src[1];
  if (terms.size === 1 && terms.has(n)) {
    const value = of(n.src[0] as Node);
    if (divisor?.op === "const" && divisor.attr.value >= 1) {
      if (n.op === "idiv") return divIndex(value, divisor.attr.value);
      if (n.op === "mod") return modIndex(value, divisor.attr.value);
    }
    return build(n.op, n.src.map(of), {}) as Node;
  }
  const left = new Map(terms);
  const chained = s.chain ? [takeChain(left, s.chain)] : [];
  return sumIndex(constant, ...chained, ...[...left].map(([atom, k]) => [of(atom), k] as const));
}

/** Whether the coefficients of the ranges are those of one flat index; 0 where none of them appears. */
export function chainStride(terms: ReadonlyMap<Node, number>, ranges: readonly RangeNode[]): number | undefined {
  const last = terms.get(ranges.at(-1) as Node) ?? 0;
  let stride = last;
  for (let i = ranges.length - 1; i >= 0; i--) {
    if ((terms.get(ranges[i] as Node) ?? 0) !== stride) return undefined;
    stride *= (ranges[i] as RangeNode).attr.extent;
  }
  return last;
}

/** The flat index so many times that the terms of the ranges are in it, which leave. */
function takeChain(terms: Map<Node, number>, { ranges, flat }: NonNullable<Substitution["chain"]>): [Node, number] {
  const stride = chainStride(terms, ranges) ?? 0;
  if (stride) for (const r of ranges) terms.delete(r);
  return [flat, stride];
}
