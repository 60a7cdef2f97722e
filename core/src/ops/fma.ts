/** The fused multiply-add of scalars. No program is written with it: expansions for hardware that has it are. */
import type { Node } from "../ir/node.ts";
import { tensorType } from "../ir/type.ts";
import { build } from "./build.ts";
import { type RareFamily, requireKinds, requireSameDims } from "./define.ts";
import { load } from "./table.ts";

/** a · b + c of f32. In doubles the product is exact, and the sum is rounded once before the result is. */
export const fma = (a: Node, b: Node, c: Node): Node => build("fma", [a, b, c], {});

export const fusing = {
  fma: {
    role: "elementwise",
    level: "loops",
    arity: 3,
    flops: 2,
    attrs: {},
    infer: (src) => tensorType(requireKinds("fma", src, ["float"]), requireSameDims("fma", src)),
    scalar: ([a, b, c]) => (a as number) * (b as number) + (c as number),
  },
} satisfies RareFamily<"fma">;

export const loadFma = (): void => load(fusing);
