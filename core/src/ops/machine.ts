/** Operations of scalars that no program is written with: what `exp` and its like are made of for hardware that has a fused
 *  multiply-add is. They stand in kernels alone. */
import type { Node } from "../ir/node.ts";
import { tensorType } from "../ir/type.ts";
import { build } from "./build.ts";
import { type RareFamily, requireKinds, requireSameDims } from "./define.ts";
import { load } from "./table.ts";

/** a · b + c of floats. In doubles the product of f32 is exact, and the sum is rounded once before the result is. */
export const fma = (a: Node, b: Node, c: Node): Node => build("fma", [a, b, c], {});

/** y · 2ⁿ of f32 for a whole n, rounded once. */
export const scale = (y: Node, n: Node): Node => build("scale", [y, n], {});

/** The sine of numbers too large for a kernel's own formulas. Lanes that are all 0 cost little. */
export const farSin = (x: Node): Node => build("farSin", [x], {});
export const farCos = (x: Node): Node => build("farCos", [x], {});

const entry = <const O extends "fma" | "scale" | "farSin" | "farCos">(
  op: O,
  arity: number,
  flops: number,
  scalar: (x: readonly number[]) => number,
) =>
  ({
    role: "elementwise",
    level: "loops",
    arity,
    flops,
    attrs: {},
    infer: (src: readonly Node[]) => tensorType(requireKinds(op, src, ["float"]), requireSameDims(op, src)),
    scalar,
  }) as const;

export const machine = {
  fma: entry("fma", 3, 2, ([a, b, c]) => (a as number) * (b as number) + (c as number)),
  scale: entry("scale", 2, 1, ([y, n]) => (y as number) * 2 ** (n as number)),
  farSin: entry("farSin", 1, 20, ([x]) => Math.sin(x as number)),
  farCos: entry("farCos", 1, 20, ([x]) => Math.cos(x as number)),
} satisfies RareFamily<"fma" | "scale" | "farSin" | "farCos">;

export const loadMachine = (): void => load(machine);
