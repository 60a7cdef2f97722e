/** A group that reads or writes single rows of stacks (see `control/plans.ts`), as devices that take graphs run it: the function on
 *  the rows themselves, and where they lie in which regions. So a step costs as much as its rows, not as the stacks. */
import { byteSize } from "../ir/dtype.ts";
import { known } from "../ir/dim.ts";
import { type Fn, makeFn, nodesOf } from "../ir/fn.ts";
import { type Node, type NodeOf, tensorTypeOf } from "../ir/node.ts";
import { remake, within } from "../ir/scope.ts";
import { newScope } from "../ops/table.ts";
import type { TensorType } from "../ir/type.ts";

/** A row of a region: which parameter of the group says its number, and the bytes of one. */
export interface Row {
  readonly number: number;
  readonly bytes: number;
}

export interface Rowed {
  readonly fn: Fn;
  /** For each parameter and each result the row that it is; undefined for one that is whole. */
  readonly inputs: readonly (Row | undefined)[];
  readonly outputs: readonly (Row | undefined)[];
}

const rowBytes = ({ dtype, dims }: TensorType): number =>
  byteSize(
    dtype,
    dims.reduce<number>((n, d) => n * known(d, "a row"), 1),
  );

const isPick = (n: Node): n is NodeOf<"pick"> => n.op === "pick";
const numberOf = (n: Node | undefined): number => (n?.op === "param" ? n.attr.index : -1);

export function rowed(fn: Fn): Rowed {
  const all = nodesOf(fn);
  if (!all.some((n) => n.op === "pick" || n.op === "put")) return { fn, inputs: [], outputs: [] };
  const inputs = fn.params.map((p): Row | undefined => {
    const users = all.filter((n) => n.src.includes(p as Node));
    const [first] = users;
    const only = first && isPick(first) && users.every((n) => isPick(n) && n.src[0] === p && n.src[1] === first.src[1]);
    return only ? { number: numberOf(first.src[1]), bytes: rowBytes(tensorTypeOf(first)) } : undefined;
  });
  const outputs = fn.results.map((r): Row | undefined =>
    r.op === "put" ? { number: numberOf(r.src[1]), bytes: rowBytes(tensorTypeOf(r.src[0] as Node)) } : undefined,
  );
  const scope = newScope();
  const made = within(scope, () => {
    const now = new Map<Node, Node>();
    for (const n of all) {
      if (n.op === "param") {
        const row = inputs[n.attr.index] && all.find((m) => isPick(m) && m.src[0] === n);
        now.set(n, scope.make("param", [], { ...n.attr, type: row ? row.type : n.type }) as Node);
      } else if (isPick(n) && inputs[numberOf(n.src[0])]) now.set(n, now.get(n.src[0] as Node) as Node);
      else if (n.op === "put") now.set(n, now.get(n.src[0] as Node) as Node);
      else
        now.set(
          n,
          remake(
            scope,
            n,
            n.src.map((s) => now.get(s) as Node),
          ),
        );
    }
    return makeFn(
      fn.name,
      fn.params.map((p) => now.get(p as Node) as NodeOf<"param">),
      fn.results.map((r) => now.get(r) as Node),
    );
  });
  return { fn: made, inputs, outputs };
}
