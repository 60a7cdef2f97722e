/** Numbers for symbols: a function whose dims are symbolic becomes one whose dims are known, without tracing it again. */
import { kindsOf } from "./attr-kinds.ts";
import { type Dim } from "./dim.ts";
import { bindDim } from "./symbol.ts";
import { type Fn, makeFn, nodesOf } from "./fn.ts";
import type { Attrs, Node, NodeOf, Op } from "./node.ts";
import { InternScope, within } from "./scope.ts";
import { isTuple, type Type } from "./type.ts";

/** The function with the symbols' values in place of the symbols, in a scope of its own.
 *  @throws ShapeError if a symbol has no value, or one outside its bounds */
export function bindFn(fn: Fn, values: ReadonlyMap<string, number>, made = new Map<Fn, Fn>()): Fn {
  const known = made.get(fn);
  if (known) return known;
  const [first] = nodesOf(fn);
  if (!first) return fn;
  let site: string | undefined;
  const scope = new InternScope(first.scope.infer, () => site);
  const bound = within(scope, () => {
    const now = new Map<Node, Node>();
    for (const n of nodesOf(fn)) {
      ({ site } = n);
      const attr = bindAttr(n, values, made) as Attrs[Op];
      now.set(
        n,
        scope.make<Op>(
          n.op,
          n.src.map((s) => now.get(s) as Node),
          attr,
        ) as Node,
      );
    }
    const params = fn.params.map((p) => now.get(p as Node) as NodeOf<"param">);
    return makeFn(
      fn.name,
      params,
      fn.results.map((r) => now.get(r) as Node),
    );
  });
  made.set(fn, bound);
  return bound;
}

function bindAttr(node: Node, values: ReadonlyMap<string, number>, made: Map<Fn, Fn>): object {
  const kinds = kindsOf(node.op);
  const entries = Object.entries(node.attr).map(([key, value]: [string, unknown]): [string, unknown] => {
    switch (kinds[key]) {
      case "dims":
        return [key, (value as readonly Dim[]).map((d) => bindDim(d, values))];
      case "type":
      case "tensor":
        return [key, bindType(value as Type, values)];
      case "fn":
        return [key, bindFn(value as Fn, values, made)];
      default:
        return [key, value];
    }
  });
  return Object.fromEntries(entries);
}

function bindType(type: Type, values: ReadonlyMap<string, number>): Type {
  if (isTuple(type)) return { tuple: type.tuple.map((t) => bindType(t, values)) };
  return { ...type, dims: type.dims.map((d) => bindDim(d, values)) };
}
