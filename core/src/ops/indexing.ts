/** Arithmetic on symbolic indices: i32 scalar nodes. Each constructor simplifies with the bounds of its operands (what a
 *  range can reach), so that an index through a reshape and back is the index itself, and a mask that always holds is gone.
 *  A product is only ever with a constant, so every index is a sum of constant multiples of ranges, quotients and remainders. */
import { type Dim, known } from "../ir/dim.ts";
import { dimsOf, type Node } from "../ir/node.ts";
import { add, and, idiv, lt, mod, mul, scalar } from "./build.ts";

/** An index that is a number. */
export const constIndex = (n: number): Node => scalar(n, "i32");

/** A sum `constant + Σ coefficient · atom`, atoms being ranges, loads, quotients, remainders. */
interface Affine {
  readonly constant: number;
  readonly terms: ReadonlyMap<Node, number>;
}

const affineOf = new WeakMap<Node, Affine>();

/** An index as a sum of terms and a constant. */
export function affine(n: Node): Affine {
  const known = affineOf.get(n);
  if (known) return known;
  const made = analyse(n);
  affineOf.set(n, made);
  return made;
}

function analyse(n: Node): Affine {
  if (n.op === "const") return { constant: n.attr.value, terms: new Map() };
  if (n.op === "add") return sumOf([0, [n.src[0] as Node, 1], [n.src[1] as Node, 1]]);
  if (n.op === "mul" && n.src[1]?.op === "const") return sumOf([0, [n.src[0] as Node, n.src[1].attr.value]]);
  return { constant: 0, terms: new Map([[n, 1]]) };
}

/** A number, and indices so many times each. */
type Summands = readonly [number, ...(readonly [Node, number])[]];

function sumOf([first, ...all]: Summands): Affine {
  let constant = first;
  const terms = new Map<Node, number>();
  for (const [n, factor] of all) {
    const one = affine(n);
    constant += one.constant * factor;
    for (const [atom, k] of one.terms) {
      const sum = (terms.get(atom) ?? 0) + k * factor;
      if (sum === 0) terms.delete(atom);
      else terms.set(atom, sum);
    }
  }
  return { constant, terms };
}

const multiples = new WeakMap<Node, Map<number, Node>>();

/** An atom k times: the same few come again and again. */
function multiple(atom: Node, k: number): Node {
  if (k === 1) return atom;
  const known = multiples.get(atom) ?? new Map<number, Node>();
  multiples.set(atom, known);
  const made = known.get(k) ?? mul(atom, constIndex(k));
  known.set(k, made);
  return made;
}

/** The node of a sum: atoms in order of their ids, the constant last, so equal sums are one node. */
function fromAffine({ constant, terms }: Affine): Node {
  let sum: Node | undefined;
  for (const [atom, k] of [...terms].sort(([a], [b]) => a.id - b.id)) {
    const term = multiple(atom, k);
    sum = sum ? add(sum, term) : term;
  }
  if (!sum) return constIndex(constant);
  return constant === 0 ? sum : add(sum, constIndex(constant));
}

const boundsOf = new WeakMap<Node, readonly [number, number]>();
const unbounded: readonly [number, number] = [-(2 ** 31), 2 ** 31 - 1];

/** The least and greatest value that an index can take. */
export function bounds(n: Node): readonly [number, number] {
  const known = boundsOf.get(n);
  if (known) return known;
  const made = computeBounds(n);
  boundsOf.set(n, made);
  return made;
}

function computeBounds(n: Node): readonly [number, number] {
  if (n.op === "const") return [n.attr.value, n.attr.value];
  if (n.op === "range") return [0, Math.max(n.attr.extent - 1, 0)];
  if (n.op === "add" || n.op === "mul") {
    let lo = affine(n).constant;
    let hi = lo;
    for (const [atom, k] of affine(n).terms) {
      if (atom === n) return unbounded;
      const [l, h] = bounds(atom);
      lo += k > 0 ? k * l : k * h;
      hi += k > 0 ? k * h : k * l;
    }
    return [lo, hi];
  }
  const [a, b] = n.src;
  if (n.op === "mod" && b?.op === "const") return [0, b.attr.value - 1];
  if (n.op === "idiv" && a && b?.op === "const") {
    const [l, h] = bounds(a);
    return [Math.floor(l / b.attr.value), Math.floor(h / b.attr.value)];
  }
  if ((n.op === "max" || n.op === "min") && a && b) {
    const [[al, ah], [bl, bh]] = [bounds(a), bounds(b)];
    return [Math[n.op](al, bl), Math[n.op](ah, bh)];
  }
  return unbounded;
}

/** A number and indices so many times each, in normal form. */
export const sumIndex = (...all: Summands): Node => fromAffine(sumOf(all));
/** a + b of indices, in normal form. */
export const addIndex = (a: Node, b: Node): Node => sumIndex(0, [a, 1], [b, 1]);
export const subIndex = (a: Node, b: Node): Node => sumIndex(0, [a, 1], [b, -1]);
/** An index times a number, in normal form. */
export const mulIndex = (a: Node, k: number): Node => sumIndex(0, [a, k]);

/** ⌊a / k⌋ and a mod k for k > 0: the part of the sum that is a multiple of k leaves when the rest lies in 0..k−1. */
function split(a: Node, k: number): { readonly quotient: Node; readonly rest: Node } {
  const { constant, terms } = affine(a);
  const whole: Affine = {
    constant: Math.floor(constant / k),
    terms: new Map([...terms].filter(([, c]) => c % k === 0).map(([t, c]) => [t, c / k])),
  };
  const rest = fromAffine({
    constant: constant - Math.floor(constant / k) * k,
    terms: new Map([...terms].filter(([, c]) => c % k !== 0)),
  });
  return { quotient: fromAffine(whole), rest };
}

/** An index divided by a number, rounded down, in normal form. */
export function divIndex(a: Node, k: number): Node {
  if (k === 1) return a;
  const { quotient, rest } = split(a, k);
  const [lo, hi] = bounds(rest);
  if (Math.floor(lo / k) === Math.floor(hi / k)) return addIndex(quotient, constIndex(Math.floor(lo / k)));
  const nested =
    rest.op === "idiv" && rest.src[1]?.op === "const"
      ? divIndex(rest.src[0] as Node, k * rest.src[1].attr.value)
      : undefined;
  return addIndex(quotient, nested ?? idiv(rest, constIndex(k)));
}

/** The rest of that division. */
export function modIndex(a: Node, k: number): Node {
  if (k === 1) return constIndex(0);
  const { rest } = split(a, k);
  const [lo, hi] = bounds(rest);
  if (Math.floor(lo / k) === Math.floor(hi / k)) return addIndex(rest, constIndex(-Math.floor(lo / k) * k));
  return mod(rest, constIndex(k));
}

/** `a < b` as a bool scalar, or undefined where it always holds. */
export function below(a: Node, b: number): Node | undefined {
  return bounds(a)[1] < b ? undefined : lt(a, constIndex(b));
}

/** `0 <= a < size` as a bool scalar, or undefined where it always holds. */
export function betweenIndex(a: Node, size: number): Node | undefined {
  return allOf([bounds(a)[0] >= 0 ? undefined : lt(constIndex(-1), a), below(a, size)]);
}

export function allOf(conditions: readonly (Node | undefined)[]): Node | undefined {
  return conditions.reduce<Node | undefined>((all, c) => (all && c ? and(all, c) : (all ?? c)), undefined);
}

/** The row-major position of indices in dims. */
export function flattenIndex(i: readonly Node[], dims: readonly Dim[]): Node {
  let position: Node = constIndex(0);
  let stride = 1;
  for (let a = dims.length - 1; a >= 0; a--) {
    position = addIndex(position, mulIndex(i[a] as Node, stride));
    stride *= known(dims[a] as Dim, "an index");
  }
  return position;
}

/** The indices in dims of a row-major position. */
export function unflattenIndex(position: Node, dims: readonly Dim[]): Node[] {
  const at: Node[] = [];
  let rest = position;
  for (let a = dims.length - 1; a >= 0; a--) {
    const size = known(dims[a] as Dim, "an index");
    at.unshift(a === 0 ? (size === 1 ? constIndex(0) : rest) : size === 0 ? constIndex(0) : modIndex(rest, size));
    if (a > 0) rest = size === 0 ? constIndex(0) : divIndex(rest, size);
  }
  return at;
}

/** The dims of a node as numbers. */
export const knownDims = (n: Node): number[] => dimsOf(n).map((d) => known(d, n.op));
