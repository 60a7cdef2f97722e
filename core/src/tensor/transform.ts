/** Function transforms over tensors: derivatives. They work on pending operations and inside traces alike. */
import { DTypeError, ShapeError, TreeError } from "../errors.ts";
import { backwardOrZero } from "../autodiff/backward.ts";
import { isFloat } from "../ir/dtype.ts";
import type { Node } from "../ir/node.ts";
import { freshId } from "../ir/scope.ts";
import { atOneLine, located } from "../ir/site.ts";
import { typeText } from "../ir/type.ts";
import { build, scalar } from "../ops/build.ts";
import { remember, transforming } from "./pending.ts";
import { Tensor } from "./tensor.ts";
import { map, mapLeaves, tensors } from "./tree.ts";

type ScalarFunction<X, R extends readonly unknown[]> = (x: X, ...rest: R) => Tensor;

/** The loss and its gradient with respect to the first argument, a tree of float tensors.
 *
 *  @param f  returns a scalar
 *  @returns  a function of f's arguments giving `[value, gradient]`, the gradient a tree like the argument
 *  @throws ShapeError if f's result is not a scalar; DTypeError for a leaf that is not float
 *  @example const [loss, grads] = valueAndGrad((w) => w.mul(w).sum())(tensor([1, 2])); */
export const valueAndGrad =
  <X, R extends readonly unknown[]>(f: ScalarFunction<X, R>) =>
  (x: X, ...rest: R): [Tensor, X] => {
    const [value, , gradient] = derive("valueAndGrad", (v: X) => [f(v, ...rest), null], x);
    return [value, gradient];
  };

/** Like `valueAndGrad` for a function that returns `[loss, more]`: gives `[[loss, more], gradient]`. */
export const valueAndGradWith =
  <X, A, R extends readonly unknown[]>(f: (x: X, ...rest: R) => readonly [Tensor, A]) =>
  (x: X, ...rest: R): [readonly [Tensor, A], X] => {
    const [value, aux, gradient] = derive("valueAndGradWith", (v: X) => f(v, ...rest), x);
    return [[value, aux], gradient];
  };

/** The gradient alone.
 *  @example grad((x) => x.sin())(tensor(0))   // 1 */
export const grad =
  <X, R extends readonly unknown[]>(f: ScalarFunction<X, R>) =>
  (x: X, ...rest: R): X =>
    valueAndGrad(f)(x, ...rest)[1];

/** Runs a derivative: nodes keep their sources, and errors name the user's line. */
export const differentiating = <T>(body: () => T): T => located(() => transforming(body));

function derive<X, A>(name: string, f: (x: X) => readonly [Tensor, A], x: X): [Tensor, A, X] {
  return differentiating(() => {
    const { tree, variables } = renamed(name, x);
    const [value, aux] = f(tree);
    if (!(value instanceof Tensor) || value.rank !== 0 || !isFloat(value.dtype))
      throw new ShapeError(
        `${name}: expected the function to return a float scalar, got ${value instanceof Tensor ? typeText(value.type) : typeof value}`,
        {
          hint: "reduce the loss with mean() or sum()",
        },
      );
    const grads = atOneLine(() =>
      backwardOrZero(
        [value.node],
        [scalar(1, value.dtype)],
        variables.map((v) => v.node),
      ),
    );
    return [
      value,
      aux,
      replaced(
        tree,
        grads.map((g) => new Tensor(g)),
      ),
    ];
  });
}

/** The tree with each tensor under a fresh name, and those names: what is differentiated with respect to. */
export function renamed<X>(name: string, x: X): { tree: X; variables: Tensor[] } {
  for (const { path, tensor } of tensors(x))
    if (!isFloat(tensor.dtype))
      throw new DTypeError(
        `${name}: ${path || "the argument"} is ${typeText(tensor.type)}; only floats have a gradient`,
        { hint: "pass it as a further argument" },
      );
  const tree = atOneLine(() => map((t) => new Tensor(build("alias", [t.node], { tag: freshId() })), x));
  return { tree, variables: tensors(tree).map(({ tensor }) => tensor) };
}

/** The tree with its tensors replaced, in order. */
export function replaced<X>(tree: X, values: readonly Tensor[]): X {
  let i = 0;
  return mapLeaves(tree, (leaf) => (leaf instanceof Tensor ? values[i++] : leaf)) as X;
}

/** The result of f and its pull-back: from the cotangents of the result, a tree like it, to those of each argument.
 *  @example const [y, pull] = vjp((x) => x.exp(), x); const [gx] = pull(onesLike(y)); */
export function vjp<A extends readonly unknown[], Y>(f: (...args: A) => Y, ...args: A): [Y, (cotangents: Y) => A] {
  return differentiating(() => {
    const { tree, variables } = renamed("vjp", args);
    const y = f(...tree);
    const roots = tensors(y);
    // Until the pull-back is called y may be read, and then forgets where it came from.
    const rootNodes = roots.map(({ tensor }) => tensor.node);
    const graph = remember(rootNodes, new Set(variables.map((v) => v.node)));
    const pull = (cotangents: Y): A => {
      const given = tensors(cotangents);
      return differentiating(() => {
        roots.forEach(({ path, tensor }, i) => {
          const g = given[i];
          if (!g || g.path !== path) throw new TreeError(`vjp: the cotangents have no tensor at ${path || "the root"}`);
          if (typeText(g.tensor.type) !== typeText(tensor.type))
            throw new ShapeError(
              `vjp: the cotangent of ${path || "the result"} should be ${typeText(tensor.type)}, got ${typeText(g.tensor.type)}`,
            );
        });
        const now = graph();
        const grads = backwardOrZero(
          rootNodes.map((n) => now.get(n) as Node),
          given.map(({ tensor }) => tensor.node),
          variables.map((v) => v.node),
        );
        return replaced(
          tree,
          grads.map((g) => new Tensor(g)),
        );
      });
    };
    return [y, pull];
  });
}
