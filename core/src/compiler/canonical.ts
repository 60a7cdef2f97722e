/** Every product as one of at most three loops and a batch: `[batch, m, k] · [batch, k, n]`. Axes of one role are brought
 *  together by permute and made one by reshape; both are only index arithmetic to the kernel that reads through them.
 *
 *    dot(%x: [B, T, D], %w: [D, N]) {contract: [[2], [0]]}   →   reshape(dot([B·T, D], [D, N])) : [B, T, N] */
import type { Dim } from "../ir/dim.ts";
import { sizeOf } from "../ir/dim.ts";
import type { Fn } from "../ir/fn.ts";
import { dimsOf, type Node, type NodeOf } from "../ir/node.ts";
import { rewrite } from "../ir/rewrite.ts";
import { dot, permute, reshape } from "../ops/build.ts";
import { freeAxes } from "../ops/contraction.ts";
import { canonicalRules } from "../ops/table.ts";

export const canonicalDots = (fn: Fn): Fn => rewrite(fn, { ...canonicalRules, dot: canonical, permute: swapped });

/** A product read with its free axes exchanged is the product of the operands exchanged: what a weight's gradient asks for. */
function swapped({ src: [y], attr: { axes } }: NodeOf<"permute">): Node | undefined {
  if (y?.op !== "dot") return undefined;
  const { contract, batch } = y.attr;
  const [a, b] = freeAxes(y).map((free) => free.length) as [number, number];
  const n = batch[0].length;
  const exchanged = axes.map((_, i) => (i < n ? i : i < n + b ? i + a : i - b));
  if (axes.some((axis, i) => axis !== exchanged[i])) return undefined;
  return dot(y.src[1] as Node, y.src[0] as Node, { contract: [contract[1], contract[0]], batch: [batch[1], batch[0]] });
}

function canonical(y: NodeOf<"dot">): Node | undefined {
  const { contract, batch } = y.attr;
  const [freeA, freeB] = freeAxes(y);
  const single = batch[0].length <= 1 && [freeA, contract[0], freeB].every((axes) => axes.length === 1);
  const leading = batch.every((axes) => axes.every((a, i) => a === i));
  if (single && leading) return undefined;
  const [a, b] = y.src as [Node, Node];
  const size = (x: Node, axes: readonly number[]): Dim => sizeOf(axes.map((i) => dimsOf(x)[i] as Dim));
  const batched = batch[0].length > 0;
  const gather = (x: Node, ...roles: (readonly number[])[]): Node =>
    reshape(
      permute(x, [...(roles[0] as number[]), ...roles.slice(1).flat()]),
      roles.flatMap((axes, i) => (i === 0 && !batched ? [] : [size(x, axes)])),
    );
  const left = gather(a, batch[0], freeA, contract[0]);
  const right = gather(b, batch[1], contract[1], freeB);
  const n = batched ? 1 : 0;
  const product = dot(left, right, { contract: [[n + 1], [n]], batch: batched ? [[0], [0]] : [[], []] });
  return reshape(product, dimsOf(y));
}
