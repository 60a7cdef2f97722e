/** `vmap`: a function of one example becomes a function of many, without a loop. */
import { batch } from "../autodiff/batch.ts";
import { ArgumentError, ShapeError } from "../errors.ts";
import { type Dim, dimEqual, dimText } from "../ir/dim.ts";
import { dimsOf, type Node } from "../ir/node.ts";
import { freshId } from "../ir/scope.ts";
import { located } from "../ir/site.ts";
import { typeText } from "../ir/type.ts";
import { build, expand, permute, reshape, slice } from "../ops/build.ts";
import { axisOf } from "./operand.ts";
import { transforming } from "./pending.ts";
import { Tensor } from "./tensor.ts";
import { mapLeaves } from "./tree.ts";

/** Which axes of the arguments run through the batch. */
export interface VmapOptions<A extends readonly unknown[]> {
  /** For each argument the axis of its tensors that is mapped, or null for one that all examples share. Default: 0 for all. */
  readonly in?: { readonly [I in keyof A]: number | null };
  /** Where the mapped axis goes in the results. Default 0. */
  readonly out?: number;
}

/** f over each element of an axis of its arguments, in one computation. It nests, and works inside `grad` and `jit` as they do inside it.
 *
 *  @throws ShapeError if the mapped sizes differ; ArgumentError if nothing is mapped
 *  @example vmap((x: Tensor) => x.mul(x).sum())(tensor([[1, 2], [3, 4]]))   // [5, 25] */
export const vmap =
  <A extends readonly unknown[], Y>(f: (...args: A) => Y, options: VmapOptions<A> = {}): ((...args: A) => Y) =>
  (...args: A): Y =>
    located(() => transforming(() => mapped(f, args, options)));

function mapped<A extends readonly unknown[], Y>(
  f: (...args: A) => Y,
  args: A,
  { in: axes, out = 0 }: VmapOptions<A>,
): Y {
  const stands = new Map<Node, Node>();
  let size: Dim | undefined;
  const inner = args.map((arg, i) => {
    const axis = axes ? axes[i] : 0;
    if (axis === null || axis === undefined) return arg;
    return mapLeaves(arg, (leaf, path) => {
      if (!(leaf instanceof Tensor)) return leaf;
      const front = toFront(leaf, axisOf("vmap", leaf.rank, axis));
      const [own, ...rest] = dimsOf(front) as [Dim, ...Dim[]];
      if (size !== undefined && !dimEqual(size, own))
        throw new ShapeError(
          `vmap: argument ${i}${path && ` at ${path}`} is ${typeText(leaf.type)}, whose axis ${axis} is ${dimText(own)}; others have ${dimText(size)}`,
        );
      size = own;
      if (own === 0)
        throw new ShapeError(`vmap: axis ${axis} of ${typeText(leaf.type)} is empty, so there is nothing to map over`);
      // One example stands for all while f runs; what depends on it is then built again for all of them.
      const first = reshape(slice(front, [0, ...rest.map(() => 0)], [1, ...rest]), rest);
      const stand = build("alias", [first], { tag: freshId() }) as Node;
      stands.set(stand, front);
      return new Tensor(stand);
    });
  }) as unknown as A;
  const count = size;
  if (count === undefined)
    throw new ArgumentError("vmap: no tensor is mapped", {
      hint: "give an axis for at least one argument that has tensors",
    });
  return mapLeaves(f(...inner), (leaf) => {
    if (!(leaf instanceof Tensor)) return leaf;
    const [made] = batch([leaf.node], stands, count);
    const { node, mapped: has } = made as { node: Node; mapped: boolean };
    const whole = has ? node : expand(reshape(node, [1, ...dimsOf(node)]), [count, ...dimsOf(node)]);
    return new Tensor(fromFront(whole, axisOf("vmap", dimsOf(whole).length, out)));
  }) as Y;
}

const toFront = (x: Tensor, axis: number): Node =>
  permute(x.node, [axis, ...x.dims.flatMap((_, a) => (a === axis ? [] : [a]))]);

function fromFront(x: Node, axis: number): Node {
  const rest = dimsOf(x)
    .slice(1)
    .map((_, a) => a + 1);
  return permute(x, [...rest.slice(0, axis), 0, ...rest.slice(axis)]);
}
