/** A name for a value, by which a policy of `remat` finds it. It computes nothing. */
import type { Node } from "../ir/node.ts";
import { tensorTypeOf } from "../ir/node.ts";
import { build } from "./build.ts";
import type { RareFamily } from "./define.ts";
import { load } from "./table.ts";

export const named = (x: Node, name: string): Node => build("named", [x], { name });

export const names = {
  named: {
    role: "mark",
    arity: 1,
    attrs: { name: "text" },
    infer: ([x]) => tensorTypeOf(x as Node),
    vjp: (g) => [g],
    batch: ({ attr }, { x }) => named(x(), attr.name),
    evaluate: (_, [x]) => x as NonNullable<typeof x>,
    lower: function* ({ src: [x] }, at, mask) {
      return yield { node: x as Node, at, mask };
    },
  },
} satisfies RareFamily<"named">;

load(names);
