/** Forward derivatives and what is made of them. */
import { backward } from "../autodiff/backward.ts";
import { batch } from "../autodiff/batch.ts";
import { forward } from "../autodiff/forward.ts";
import { ShapeError } from "../errors.ts";
import { type Dim, known, sizeOf } from "../ir/dim.ts";
import { dimsOf, dtypeOf, type Node } from "../ir/node.ts";
import { freshId } from "../ir/scope.ts";
import { typeText } from "../ir/type.ts";
import { build, cast, eq, fill, iota, permute, reshape, scalar, zerosLike } from "../ops/build.ts";
import { Tensor } from "./tensor.ts";
import { differentiating, grad, renamed, replaced } from "./transform.ts";
import { tensors } from "./tree.ts";

/** f's result and its derivative along tangents: how the result moves when the arguments move so.
 *
 *  @param tangents  for each argument a tree like it
 *  @returns `[y, ẏ]`, trees alike. No reverse sweep is left in what is computed.
 *  @throws ShapeError if a tangent is not of its argument's shape; DTypeError for an argument that is not float
 *  @example const [y, dy] = jvp((x: Tensor) => x.sin(), [tensor(0)], [tensor(1)]);   // 0 and 1 */
export function jvp<A extends readonly unknown[], Y>(f: (...args: A) => Y, args: A, tangents: A): [Y, Y] {
  return differentiating(() => {
    const { tree, variables } = renamed("jvp", args);
    const moves = tensors(tangents);
    tensors(args).forEach(({ path, tensor }, i) => {
      const given = moves[i];
      if (!given || given.path !== path || typeText(given.tensor.type) !== typeText(tensor.type))
        throw new ShapeError(
          `jvp: the tangent of ${path || "the argument"} should be ${typeText(tensor.type)}, got ${given ? typeText(given.tensor.type) : "nothing"}`,
        );
    });
    const y = f(...tree);
    const roots = tensors(y).map(({ tensor }) => tensor.node);
    const pushed = forward(
      roots,
      variables.map((v) => v.node),
      moves.map(({ tensor }) => tensor.node),
    );
    const moved = pushed.roots.map((r, i) => new Tensor(pushed.tangents[i] ?? zerosLike(r)));
    return [
      replaced(
        y,
        pushed.roots.map((r) => new Tensor(r)),
      ),
      replaced(y, moved),
    ];
  });
}

/** The direction in which derivatives are taken. */
export interface JacobianOptions {
  /** Whether rows are pulled back or columns pushed forward, all at once. By default what there are fewer of: forward where f has
   *  more results than x has elements. */
  readonly mode?: "auto" | "forward" | "reverse";
}

/** The derivative of each element of f(x) by each element of x: `[...dims of f(x), ...dims of x]`.
 *  @example jacobian((x: Tensor) => x.mul(x))(tensor([1, 2]))   // [[2, 0], [0, 4]] */
export const jacobian =
  (f: (x: Tensor) => Tensor, { mode = "auto" }: JacobianOptions = {}) =>
  (x: Tensor): Tensor =>
    differentiating(() => {
      const { tree: v } = renamed("jacobian", x);
      const y = f(v).node;
      const count = sizeOf(dimsOf(y));
      const columns = sizeOf(x.dims);
      const fewer = typeof count === "number" && typeof columns === "number" && columns < count;
      if (mode === "forward" || (mode === "auto" && fewer)) return columnByColumn(y, v.node);
      // A pull-back of one cotangent, mapped over the rows of the identity.
      const seed = build("alias", [zerosLike(y)], { tag: freshId() }) as Node;
      const [row] = backward([y], [seed], [v.node]);
      const n = known(count, "jacobian");
      const rows = reshape(identity(n, y), [n, ...dimsOf(y)]);
      const dims: Dim[] = [...dimsOf(y), ...x.dims];
      const [all] = row ? batch([row], new Map([[seed, rows]]), n) : [];
      return new Tensor(all?.mapped ? reshape(all.node, dims) : fill(scalar(0, x.dtype), dims));
    });

/** All columns pushed at once: a tangent for each element of x. */
function columnByColumn(y: Node, x: Node): Tensor {
  const n = known(sizeOf(dimsOf(x)), "jacobian");
  const seed = build("alias", [zerosLike(x)], { tag: freshId() }) as Node;
  const { roots, tangents } = forward([y], [x], [seed]);
  const [result] = roots as [Node];
  const dims: Dim[] = [...dimsOf(result), ...dimsOf(x)];
  const [moved] = tangents;
  const columns = reshape(identity(n, x), [n, ...dimsOf(x)]);
  const [all] = moved ? batch([moved], new Map([[seed, columns]]), n) : [];
  if (!all?.mapped) return new Tensor(fill(scalar(0, dtypeOf(y)), dims));
  const rank = dimsOf(result).length;
  const last = permute(all.node, [...Array.from({ length: rank }, (_, a) => a + 1), 0]);
  return new Tensor(reshape(last, dims));
}

const identity = (n: number, like: Node): Node =>
  cast(eq(iota("i32", [n, n], 0), iota("i32", [n, n], 1)), dtypeOf(like));

/** The second derivatives of a scalar function: `[...dims of x, ...dims of x]`.
 *  @example hessian((x: Tensor) => x.mul(x).mul(x).sum())(tensor([1, 2]))   // [[6, 0], [0, 12]] */
export const hessian = (f: (x: Tensor) => Tensor): ((x: Tensor) => Tensor) => jacobian(grad(f));

/** The product of the second derivatives with a vector, at the cost of a few gradients and no matrix.
 *  @param v  a tree like x */
export const hvp =
  <X>(f: (x: X) => Tensor) =>
  (x: X, v: X): X =>
    jvp(grad(f), [x], [v])[1];
