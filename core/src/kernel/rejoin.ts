/** Indices through a reshape that cuts an axis and one that joins it again: the remainder and the quotient, each in its place, are the
 *  index that they were made of. What is read then lies along a range, and need not be packed for a product. */
import { topological } from "../ir/fn.ts";
import type { Node } from "../ir/node.ts";
import { build } from "../ops/build.ts";
import { addIndex, affine, mulIndex, subIndex } from "../ops/indexing.ts";
import { substitute } from "./substitute.ts";

/** A value whose loads have such indices. */
export function rejoined(value: Node): Node {
  if (!topological([value]).some((n) => n.op === "load" && joined(n.src[1] as Node) !== n.src[1])) return value;
  const node = (n: Node, src: readonly Node[]): Node | undefined =>
    n.op === "load" ? build("load", [src[0] as Node, joined(src[1] as Node), ...src.slice(2)], n.attr) : undefined;
  return substitute([value], { range: () => undefined, node })[0] as Node;
}

/** c · (x mod k) + c k · ⌊x / k⌋ is c · x. */
function joined(index: Node): Node {
  const { terms } = affine(index);
  for (const [rest, c] of terms) {
    const [x, k] = rest.src as [Node, Node];
    if (rest.op !== "mod" || k.op !== "const") continue;
    for (const [quotient, d] of terms)
      if (quotient.op === "idiv" && quotient.src[0] === x && quotient.src[1] === k && d === c * k.attr.value) {
        const parts = addIndex(mulIndex(rest, c), mulIndex(quotient, d));
        return joined(addIndex(subIndex(index, parts), mulIndex(x, c)));
      }
  }
  return index;
}
