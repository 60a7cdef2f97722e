/** A call that looks like the one before it, recognised without spelling out its structure: the arguments are walked along a
 *  pattern of those that were traced, which gives the program's inputs on the way. What does not match, or has no value yet, goes
 *  the longer way of `signature.ts`. */
import { dimEqual } from "../ir/dim.ts";
import type { TensorType } from "../ir/type.ts";
import type { Buffer } from "../runtime/buffer.ts";
import type { Sure } from "../runtime/kept.ts";
import { Tensor } from "./tensor.ts";
import { childrenOf, isNode, isPlain, type TreeNode, treeNode } from "./tree.ts";

/** The shape of a tree of arguments. Parts stand in the order in which trees are flattened. */
export type Pattern =
  | { readonly kind: "tensor"; type: TensorType }
  | { readonly kind: "number" }
  | { readonly kind: "fixed"; readonly value: unknown }
  | { readonly kind: "list"; readonly parts: readonly Pattern[] }
  | { readonly kind: "record"; readonly keys: readonly string[]; readonly parts: readonly Pattern[] }
  | { readonly kind: "node"; readonly key: string; readonly children: Pattern };

/** The pattern of a tree in which the leaves that `isStatic` names are part of the program. */
export function patternOf(tree: unknown, isStatic: (path: string) => boolean, path = ""): Pattern {
  const parts = childrenOf(tree);
  const inner = (parts ?? []).map(([k, v]) => patternOf(v, isStatic, path === "" ? k : `${path}.${k}`));
  if (!parts) {
    if (isStatic(path)) return { kind: "fixed", value: tree };
    if (tree instanceof Tensor) return { kind: "tensor", type: tree.type };
    return typeof tree === "number" ? { kind: "number" } : { kind: "fixed", value: tree };
  }
  if (Array.isArray(tree)) return { kind: "list", parts: inner };
  const record: Pattern = { kind: "record", keys: parts.map(([k]) => k), parts: inner };
  return isPlain(tree) ? record : { kind: "node", key: (tree as TreeNode)[treeNode].key, children: record };
}

/** What matching finds on its way. */
export interface Found {
  /** The varying leaves. */
  readonly args: (Buffer | number)[];
  /** Those of a node that is known from calls before. */
  sure?: Sure;
}

/** Whether a tree is of the pattern; what varies is added to `into`. */
export function matches(pattern: Pattern, tree: unknown, into: Found): boolean {
  switch (pattern.kind) {
    case "tensor": {
      if (!(tree instanceof Tensor)) return false;
      const { type, settled } = tree;
      if (!settled) return false;
      // Results of one program have one type object: the next comparison is that of two references.
      if (type !== pattern.type) {
        if (!sameType(type, pattern.type)) return false;
        pattern.type = type;
      }
      into.args.push(settled);
      return true;
    }
    case "number":
      return typeof tree === "number" && into.args.push(tree) > 0;
    case "fixed":
      return Object.is(pattern.value, tree);
    case "list": {
      const { parts } = pattern;
      if (!Array.isArray(tree) || tree.length !== parts.length) return false;
      for (let i = 0; i < parts.length; i++) if (!matches(parts[i] as Pattern, tree[i], into)) return false;
      return true;
    }
    case "record":
      return isPlain(tree) && matchesRecord(pattern.keys, pattern.parts, tree, into);
    case "node": {
      if (!isNode(tree)) return false;
      const { key, children, known } = tree[treeNode];
      return (
        (known && recall?.(pattern, tree, into)) ?? (key === pattern.key && matches(pattern.children, children, into))
      );
    }
    default:
      return pattern satisfies never;
  }
}

/** Looks at a node that never changes as `matches` does; undefined where it leaves that to it. */
export type Recall = (pattern: Pattern & { readonly kind: "node" }, tree: TreeNode, into: Found) => boolean | undefined;

let recall: Recall | undefined;

/** Nodes that never change are looked at in this way from here on (`recall.ts`); a small page does without. */
export function addRecall(rule: Recall): void {
  recall = rule;
}

function matchesRecord(
  keys: readonly string[],
  parts: readonly Pattern[],
  tree: Readonly<Record<string, unknown>>,
  into: Found,
): boolean {
  if (Object.keys(tree).length !== keys.length) return false;
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i] as string;
    const value = tree[key];
    if (!matches(parts[i] as Pattern, value, into) || (value === undefined && !Object.hasOwn(tree, key))) return false;
  }
  return true;
}

/** The buffer of a tensor of this type, if it is there. */
export function valueOf(tensor: Tensor, type: TensorType): Buffer | undefined {
  const buffer = tensor.settled;
  return buffer && sameType(tensor.type, type) ? buffer : undefined;
}

function sameType(a: TensorType, b: TensorType): boolean {
  if (a.dtype !== b.dtype || a.dims.length !== b.dims.length || a.space !== b.space || a.shard !== b.shard)
    return false;
  for (let i = 0; i < a.dims.length; i++) if (!dimEqual(a.dims[i] as number, b.dims[i] as number)) return false;
  return true;
}
