/** Modules whose loops threads share: beside `run` they have a function for each part of the kernel, which takes the iterations to
 *  run behind the scalars. */

import { bodyOf, type Item, workOf } from "sinan/south";
import type { FunctionBody } from "./body.ts";
import { type Code, emitItem, isLoop, none, type Writing } from "./render.ts";

/** The module's section that says, for each of the functions `part0`, `part1` and so on which are to run in turn, how many
 *  iterations threads may share and about how many operations all of them are: [[iterations, operations], ...]. A module
 *  with one part that cannot be shared has no such functions: it is `run`. */
export const partsSection = "sinan.parts";

interface Part {
  readonly items: Code[];
  readonly extent: number;
  work: number;
}

/** The iterations of the parallel loop; 1 where there is none. */
function sharedExtent(code: Code): number {
  if (isLoop(code)) return code.parallel ? code.range.attr.extent : 1;
  for (let loop = code.root.inner; loop; loop = loop.inner)
    if (loop.range?.attr.kind === "parallel") return loop.range.attr.extent;
  return 1;
}

const workIn = (item: Item): number =>
  item.op === "nest" ? workOf(item) : bodyOf(item).reduce((sum, inner) => sum + workIn(inner), 0);

/** Writes a function for each part, and what the section says.
 *  @returns what calls them one after another; undefined where there is one that cannot be shared */
export function writeParts({
  module,
  name,
  lowered,
  types,
  callees,
}: Writing): ((body: FunctionBody) => void) | undefined {
  const parts: Part[] = [];
  for (const { item, code } of lowered) {
    const extent = sharedExtent(code);
    const last = parts.at(-1);
    if (extent === 1 && last?.extent === 1) {
      last.items.push(code);
      last.work += workIn(item);
    } else parts.push({ items: [code], extent, work: workIn(item) });
  }
  module.note(partsSection, JSON.stringify(parts.map(({ extent, work }) => [extent, work])));
  if (parts.every((part) => part.extent === 1)) return undefined;
  const share = { begin: types.length, end: types.length + 1 };
  const functions = parts.map((part, i) =>
    module.fn(
      [...types, "i32", "i32"],
      [],
      (body) => {
        for (const item of part.items) emitItem(body, item, callees, none, part.extent > 1 ? share : undefined);
      },
      { name: `${name} ${i}`, export: `part${i}` },
    ),
  );
  return (body) => {
    for (const [i, callee] of functions.entries()) {
      for (const local of types.keys()) body.get(local);
      body.i32(0);
      body.i32((parts[i] as Part).extent);
      body.call(callee);
    }
  };
}
