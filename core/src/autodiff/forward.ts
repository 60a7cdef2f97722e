/** Forward mode from the reverse rules: the pull-back of a function is linear in its cotangent, so pulling a tangent back
 *  through the pull-back pushes it forward (Townsend 2017, "A new trick for calculating Jacobian vector products").
 *
 *    x̄ = pull(ȳ)                    linear in ȳ, at any ȳ
 *    ẏ = pull of (ȳ ↦ x̄) at ẋ       the value of ȳ is gone from it, and with it the whole reverse sweep
 */
import { freshId } from "../ir/scope.ts";
import type { Node } from "../ir/node.ts";
import { build, zerosLike } from "../ops/build.ts";
import { backward, isDifferentiable } from "./backward.ts";

/** The tangents of `roots` for tangents of `wrt`; null where nothing flows. */
export function forward(roots: readonly Node[], wrt: readonly Node[], tangents: readonly Node[]): (Node | null)[] {
  const seeds = roots.map((r) =>
    isDifferentiable(r) ? (build("alias", [zerosLike(r)], { tag: freshId() }) as Node) : null,
  );
  const pulled = backward(roots, seeds, wrt);
  const flows = pulled.flatMap((x, i) => (x ? [{ x, tangent: tangents[i] as Node }] : []));
  const open = seeds.filter((s): s is Node => s !== null);
  const pushed = backward(
    flows.map(({ x }) => x),
    flows.map(({ tangent }) => tangent),
    open,
  );
  const bySeed = new Map(open.map((s, i) => [s, pushed[i] ?? null]));
  return seeds.map((s) => (s && bySeed.get(s)) ?? null);
}
