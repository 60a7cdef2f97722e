/** Threefry2x32 with 20 rounds in scalar u32 ops (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"). */
import type { Node } from "../../ir/node.ts";
import { add, or, scalar, shl, shr, xor } from "../../ops/build.ts";

const rotations = [
  [13, 15, 26, 6],
  [17, 29, 16, 24],
] as const;

const u32 = (n: number): Node => scalar(n, "u32");
const rotate = (x: Node, by: number): Node => or(shl(x, u32(by)), shr(x, u32(32 - by)));

/** The two words for a key (k0, k1) and a counter (hi, lo), all u32 scalars. */
export function threefry2x32(k0: Node, k1: Node, hi: Node, lo: Node): readonly [Node, Node] {
  const keys = [k0, k1, xor(xor(k0, k1), u32(0x1bd11bda))] as const;
  const keyAt = (i: number): Node => keys[i % 3] as Node;
  let [x0, x1] = [add(hi, k0), add(lo, k1)];
  for (let group = 0; group < 5; group++) {
    for (const by of rotations[(group % 2) as 0 | 1]) {
      x0 = add(x0, x1);
      x1 = xor(rotate(x1, by), x0);
    }
    x0 = add(x0, keyAt(group + 1));
    x1 = add(add(x1, keyAt(group + 2)), u32(group + 1));
  }
  return [x0, x1];
}
