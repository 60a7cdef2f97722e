/** Trees of tensors: plain objects, arrays and modules. Keys are sorted and compared, so that two trees are never paired by
 *  the order in which somebody happened to write their keys. */
import { TreeError } from "../errors.ts";
import { located } from "../ir/site.ts";
import type { Kept } from "../runtime/kept.ts";
import { Tensor } from "./tensor.ts";

/** A class or function that is a node of trees says how to take it apart and put it together. */
export const treeNode: unique symbol = Symbol.for("sinan.tree");

/** An object that says itself which of its fields are parts of the tree. */
export interface TreeNode {
  readonly [treeNode]: {
    readonly children: Readonly<Record<string, unknown>>;
    rebuild(children: Readonly<Record<string, unknown>>): unknown;
    /** What of it, beside the leaves, a trace depends on: two values of equal text trace alike. */
    readonly key: string;
    /** Where nothing of the node ever changes but the values of its tensors: what calls know of it. */
    readonly known?: Known;
  };
}

/** What is known of a node that was given to calls. */
export interface Known {
  /** What it was last found to be like, and how often in turn. */
  like?: object;
  times?: number;
  /** Its varying leaves. */
  kept?: Kept;
}

/** Whether something says itself what is a part of it. */
export const isNode = (x: unknown): x is TreeNode =>
  x !== null && (typeof x === "object" || typeof x === "function") && treeNode in x;
/** Whether something is an object literal, whose fields are parts of a tree. */
export const isPlain = (x: unknown): x is Record<string, unknown> => {
  if (x === null || typeof x !== "object" || Array.isArray(x) || x instanceof Tensor) return false;
  const prototype: unknown = Object.getPrototypeOf(x);
  return prototype === Object.prototype || prototype === null;
};

/** What a leaf may be besides a tensor: values that travel along. */
export type Static = number | string | boolean | bigint | null | undefined;

/** A tensor of a tree, with its path. */
export interface Leaf {
  /** `layers.0.weight` */
  readonly path: string;
  readonly value: unknown;
}

/** The parts of an inner node by sorted key; undefined for a leaf. */
export function childrenOf(x: unknown): readonly (readonly [string, unknown])[] | undefined {
  if (x instanceof Tensor) return undefined;
  if (isNode(x)) return sorted(x[treeNode].children);
  if (Array.isArray(x)) return x.map((v, i) => [String(i), v]);
  if (isPlain(x)) return sorted(x);
  return undefined;
}

const sorted = (x: Readonly<Record<string, unknown>>): [string, unknown][] =>
  Object.entries(x).sort(([a], [b]) => (a < b ? -1 : 1));

/** All leaves, tensors and others, in order. */
export function flatten(tree: unknown): Leaf[] {
  const found: Leaf[] = [];
  const visit = (x: unknown, path: string): void => {
    const parts = childrenOf(x);
    if (!parts) found.push({ path, value: x });
    else for (const [k, v] of parts) visit(v, path === "" ? k : `${path}.${k}`);
  };
  visit(tree, "");
  return found;
}

/** The tree with each leaf replaced. */
export function mapLeaves(tree: unknown, f: (value: unknown, path: string) => unknown, path = ""): unknown {
  const parts = childrenOf(tree);
  if (!parts) return f(tree, path);
  const made: [string, unknown][] = parts.map(([k, v]) => [k, mapLeaves(v, f, path === "" ? k : `${path}.${k}`)]);
  if (Array.isArray(tree)) return made.map(([, v]) => v);
  const record = Object.fromEntries(made);
  if (isNode(tree)) return tree[treeNode].rebuild(record);
  // The leaves are met in the order of the keys, but the record is written as it was.
  return Object.fromEntries(Object.keys(tree as object).map((k) => [k, record[k]]));
}

/** The tensors of a tree with their paths. */
export const tensors = (tree: unknown): { path: string; tensor: Tensor }[] =>
  flatten(tree).flatMap(({ path, value }) => (value instanceof Tensor ? [{ path, tensor: value }] : []));

/** Applies f to the tensors of a tree, and to those at the same paths of further trees of the same structure.
 *  @throws TreeError naming the first key that one has and another has not
 *  @example map((p, g) => p.sub(g.mul(0.1)), params, grads) */
export function map<T>(f: (x: Tensor, ...rest: Tensor[]) => Tensor, tree: T, ...rest: readonly unknown[]): T {
  const others = located(() => rest.map((r) => matched(tree, r)));
  return mapLeaves(tree, (value, path) =>
    value instanceof Tensor ? f(value, ...others.map((o) => o.get(path) as Tensor)) : value,
  ) as T;
}

function matched(tree: unknown, other: unknown): Map<string, Tensor> {
  const mine = tensors(tree);
  const theirs = new Map(tensors(other).map(({ path, tensor }) => [path, tensor]));
  for (const { path } of mine)
    if (!theirs.has(path)) throw new TreeError(`the trees differ: ${path || "the root"} is a tensor in the first only`);
  const known = new Set(mine.map(({ path }) => path));
  for (const path of theirs.keys())
    if (!known.has(path)) throw new TreeError(`the trees differ: ${path || "the root"} is a tensor in the second only`);
  return theirs;
}

/** The structure of a tree as text: equal texts, equal structure and equal leaves that are not tensors. Functions are told
 *  apart by identity. */
export function structure(tree: unknown): string {
  if (tree instanceof Tensor) return "*";
  if (isNode(tree))
    return `${tree[treeNode].key}{${(childrenOf(tree) ?? []).map(([k, v]) => `${JSON.stringify(k)}:${structure(v)}`).join(",")}}`;
  if (Array.isArray(tree)) return `[${tree.map(structure).join(",")}]`;
  if (isPlain(tree))
    return `{${(childrenOf(tree) ?? []).map(([k, v]) => `${JSON.stringify(k)}:${structure(v)}`).join(",")}}`;
  if (typeof tree === "number") return "#";
  return `${typeof tree}:${identity(tree)}`;
}

const identities = new WeakMap<object, number>();
let next = 0;

/** A text that two values share only if they are the same. */
export function identity(x: unknown): string {
  if (x === null || (typeof x !== "object" && typeof x !== "function"))
    return typeof x === "string" ? JSON.stringify(x) : Object.is(x, -0) ? "-0" : String(x);
  const known = identities.get(x);
  if (known !== undefined) return `@${known}`;
  identities.set(x, next);
  return `@${next++}`;
}
