/** Which values of a nest are kept in locals: those that are read more than once, or in another loop than the one they belong to. */
import type { Loop } from "./nest.ts";
import { sideRules } from "./rules.ts";
import type { Region, Value } from "./value.ts";

/** Expressions deeper than this are cut, so that neither this code nor the engine's runs out of stack. */
const tallest = 40;

const isLeaf = (v: Value): boolean =>
  v.kind === "param" || v.kind === "accumulator" || (v.kind === "const" && v.type !== "v128");

/** Counts how often each value that the loops need is read, and from where. */
export function countUses(root: Loop, value: Value | undefined): void {
  const used: Value[] = [];
  const stack: [Value, Region][] = [];
  const visit = (value: Value, from: Region): void => {
    stack.push([value, from]);
    for (let next = stack.pop(); next; next = stack.pop()) {
      const [v, user] = next;
      v.uses++;
      if (v.region !== user && !isLeaf(v)) {
        v.escapes = true;
        if (v.kind !== "induction") v.kept = true;
        enclosing(user, v.region).needs.add(v);
      }
      if (v.uses > 1) {
        if (v.kind === "op" || v.kind === "select" || v.kind === "call") v.kept = true;
        continue;
      }
      used.push(v);
      const inside = v.kind === "induction" ? (v.region.parent ?? v.region) : v.region;
      for (const a of v.args) stack.push([a, inside]);
    }
  };
  if (value) visit(value, root.region);
  for (const loop of loopsOf(root)) {
    for (const group of loop.groups) {
      const inner = (group.loops.at(-1) ?? loop).region;
      for (const { init, update } of group.accumulators) {
        visit(init, loop.region);
        visit(update, inner);
      }
    }
    for (const instance of loop.stores) {
      for (const store of instance) {
        visit(store.address, loop.region);
        visit(store.value, loop.region);
        if (store.mask) visit(store.mask, loop.region);
        // Made before anything of the instance is stored, and outside of an `if`.
        if ((instance.length > 1 || store.mask) && !isLeaf(store.value) && store.value.kind !== "induction")
          store.value.kept = true;
      }
    }
  }
  sideRules()?.mark(used);
  const heights = new Map<Value, number>();
  for (const v of used.sort((a, b) => a.id - b.id)) {
    const height = v.args.reduce((h, a) => Math.max(h, a.kept ? 0 : (heights.get(a) ?? 0)), 0) + 1;
    heights.set(v, height);
    if (height > tallest && v.kind !== "induction") v.kept = true;
  }
}

/** The region directly inside of `outer` that `inner` is in. */
function enclosing(inner: Region, outer: Region): Region {
  let region = inner;
  while (region.parent && region.parent !== outer) region = region.parent;
  return region;
}

/** A loop and all the loops in it. */
function loopsOf(root: Loop): Loop[] {
  const all: Loop[] = [root];
  for (const loop of all) {
    for (const group of loop.groups) all.push(...group.loops);
    if (loop.inner) all.push(loop.inner);
  }
  return all;
}
