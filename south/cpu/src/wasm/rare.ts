/** Sides of selections that are long and seldom wanted, such as the sine of a large number: computed only where some lane wants
 *  them. No rule says which they are: any side is one that nothing else reads and that takes many instructions. */

import type { FunctionBody } from "./body.ts";
import { opcodes } from "./opcodes.ts";
import type { Side, Value } from "./value.ts";

/** Instructions that are worth a branch, even one that is foreseen wrongly now and then. */
const long = 96;

const isSelection = (v: Value): boolean => v.kind === "select" || v.op === "v128.bitselect";

/** Marks the results of long sides. Several selections by one condition have one side together.
 *  @param used  the values of a nest, their uses counted */
export function markSides(used: readonly Value[]): void {
  const selections = Map.groupBy(used.filter(isSelection), ({ args: [, , condition] }) => condition as Value);
  for (const [condition, all] of selections) {
    for (const operand of [0, 1] as const) {
      for (const same of Map.groupBy(all, ({ region }) => region).values()) {
        const cone = coneOf(same.map((s) => s.args[operand] as Value).filter((v) => v.region === same[0]?.region));
        if (cone.size < long) continue;
        const inside = [...cone];
        const results = new Set(same.map((s) => s.args[operand] as Value).filter((v) => cone.has(v)));
        const needs = new Set([condition, ...inside.flatMap(({ args }) => args)].filter((v) => !cone.has(v)));
        const side: Side = { condition, operand, results: [...results], needs: [...needs] };
        for (const v of results) v.side = side;
        // A load that is kept for several iterations must not be made by one that may skip it.
        for (const v of [...results, ...needs]) v.kept ||= v.args.length > 0;
      }
    }
  }
}

/** What is computed for these reads alone: values that lose all their uses with them. Loads stay: they may be shared between
 *  iterations. */
function coneOf(reads: readonly Value[]): Set<Value> {
  const lost = new Map<Value, number>();
  const cone = new Set<Value>();
  const stack = [...reads];
  const [first] = reads;
  for (let v = stack.pop(); v; v = stack.pop()) {
    const count = (lost.get(v) ?? 0) + 1;
    lost.set(v, count);
    const isHere = v.region === first?.region && v.args.length > 0 && v.kind !== "induction" && !v.side;
    if (count < v.uses || !isHere || (v.op && opcodes[v.op].immediate?.startsWith("memory"))) continue;
    cone.add(v);
    stack.push(...v.args);
  }
  return cone;
}

/** Writes the results of a side into their locals where some lane wants them; elsewhere those hold anything.
 *  @param ready  puts a kept value, and what another is made of, into locals */
export function emitSide(
  body: FunctionBody,
  { condition, operand, results, needs }: Side,
  ready: (v: Value) => void,
): void {
  needs.forEach(ready);
  body.get(condition.local as number);
  if (condition.type === "v128") {
    if (operand === 1) body.op("v128.not");
    body.op("v128.any_true");
  } else if (operand === 1) body.op("i32.eqz");
  body.if();
  results.forEach(ready);
  body.end();
}
