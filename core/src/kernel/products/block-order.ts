/** The order of blocks of a sum over several axes. A channel of an image is a run of memory that some blocks make up, and the next
 *  channel lies behind it: who takes one block of each channel before the second of any goes through memory as often as a run has blocks, in
 *  pieces too short for the processor to see where it will read next.
 *
 *    for block: for channel: part[block][channel] = Σ x[image(block)][channel][half(block)][…]
 *  → for image: for channel: for half: the same */
import type { Node } from "../../ir/node.ts";
import { affine } from "../../ops/indexing.ts";
import { loadsIn, type NestNode, type RangeNode } from "../nests.ts";
import { outputIds } from "../plan.ts";
import type { WideRules } from "./tile-size.ts";

export const orderBlocks: WideRules["orderBlocks"] = (plan, i) => {
  const [block, ...others] = outputIds(plan.nest(i));
  if (block === undefined || others.length === 0) return;
  const range = plan.range(i, block);
  const count = blocksOfRun(plan.nest(i), range);
  if (count === undefined || range.attr.extent % count !== 0 || range.attr.extent === count) return;
  if (!plan.tries({ option: "split", nest: i, range: block, factor: count })) return;
  const inner = plan.newest(i);
  const rest = plan.nest(i).attr.order.filter((id) => id !== inner && !others.includes(id) && id !== inner - 1);
  plan.tries({ option: "reorder", nest: i, order: [inner - 1, ...others, inner, ...rest] });
};

/** How many blocks the runs of memory that are summed are made of; undefined where they are no more than one. */
function blocksOfRun(nest: NestNode, block: RangeNode): number | undefined {
  for (const load of loadsIn(nest.src))
    for (const [atom, k] of affine(load.src[1] as Node).terms) {
      const [place, run] = atom.src;
      if (atom.op !== "mod" || k !== 1 || !place || run?.op !== "const") continue;
      const { terms } = affine(place);
      const stride = terms.get(block);
      // Its terms lie side by side.
      const isRun = [...terms].some(([r, one]) => r !== block && one === 1);
      if (stride !== undefined && isRun && run.attr.value > stride && run.attr.value % stride === 0)
        return run.attr.value / stride;
    }
  return undefined;
}
