/** The IR as text, which `parse` reads back to the same function: for people, for tests and for devices that take graphs.
 *
 *      dims batch 1..64 multiple 8
 *      fn @layer(%0 "x": f32[batch, 128], %1 "w": f32[128, 64]) {
 *        %2 = dot(%0, %1) {batch: [[], []], contract: [[1], [0]]} : f32[batch, 64]  // model.ts:41:18
 *        return %2
 *      }
 */
import { attrText, fnsIn } from "./attr.ts";
import { kindsOf } from "./attr-kinds.ts";
import { type Dim, type Sym } from "./dim.ts";
import { symbolsOf } from "./symbol.ts";
import { type Fn, nodesOf } from "./fn.ts";
import type { Node } from "./node.ts";
import { isTuple, type Type, typeText } from "./type.ts";

/** The text of a function: the bounds of its symbolic dims, the functions that it calls, itself.
 *  @param sites  whether it says whose lines its nodes are of: by default, it does */
export function print(fn: Fn, sites = true): string {
  const fns = [...calledFirst(fn)];
  const names = nameAll(fns);
  const syms = new Map<string, Sym>();
  for (const f of fns)
    for (const n of nodesOf(f)) for (const s of symbolsOf(dimsIn(n))) if (!syms.has(s.name)) syms.set(s.name, s);
  const header = [...syms.values()]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, lo, hi, multiple }) => `${name} ${lo}..${hi} multiple ${multiple}`);
  return (header.length > 0 ? `dims ${header.join(", ")}\n` : "") + fns.map((f) => body(f, names, sites)).join("\n");
}

/** The line of one node, as `print` of the function that holds it would give it. */
export function printNode(node: Node, fn: Fn): string {
  return line(node, numbering(fn), (f) => label(f.name)).trim();
}

function body(fn: Fn, names: ReadonlyMap<Fn, string>, sites: boolean): string {
  const ids = numbering(fn);
  const params = fn.params.map(
    (p, i) =>
      `%${i} ${JSON.stringify(p.attr.name)}${p.attr.index === i ? "" : ` ${p.attr.index}`}: ${typeText(p.type)}`,
  );
  const heads = new Set<Node>(fn.params as readonly Node[]);
  const lines = nodesOf(fn)
    .filter((n) => !heads.has(n))
    .map((n) => line(n, ids, (f) => names.get(f) ?? label(f.name), sites));
  const results = fn.results.map((r) => `%${ids.get(r)}`).join(", ");
  return [
    `fn ${names.get(fn)}(${params.join(", ")}) {`,
    ...lines,
    `  return${results === "" ? "" : ` ${results}`}`,
    "}\n",
  ].join("\n");
}

function line(n: Node, ids: ReadonlyMap<Node, number>, fnText: (fn: Fn) => string, sites = true): string {
  const attr = attrText(n.attr, fnText);
  const site = !sites || n.site === undefined ? "" : `  // ${n.site.replaceAll(/\s+/g, " ")}`;
  return `  %${ids.get(n) ?? "?"} = ${n.op}(${n.src.map((s) => `%${ids.get(s) ?? "?"}`).join(", ")})${attr && ` ${attr}`} : ${typeText(n.type)}${site}`;
}

/** Parameters by their place, then everything else in the order of evaluation. */
function numbering(fn: Fn): Map<Node, number> {
  const ids = new Map<Node, number>();
  fn.params.forEach((p, i) => ids.set(p, ids.get(p) ?? i));
  let next = fn.params.length;
  for (const n of nodesOf(fn)) if (!ids.has(n)) ids.set(n, next++);
  return ids;
}

/** Every function that is called, before its callers; the function itself last. */
function calledFirst(root: Fn): Set<Fn> {
  const done = new Set<Fn>();
  const called = new Map<Fn, readonly Fn[]>();
  const stack = [root];
  for (let fn = stack.at(-1); fn; fn = stack.at(-1)) {
    const known = called.get(fn);
    if (known) {
      stack.pop();
      done.add(fn);
    } else {
      const callees = nodesOf(fn).flatMap((n) => fnsIn(n.attr));
      called.set(fn, callees);
      stack.push(...callees.filter((f) => !called.has(f)).reverse());
    }
  }
  return done;
}

const label = (name: string): string => (/^[A-Za-z_]\w*$/.test(name) ? `@${name}` : `@${JSON.stringify(name)}`);

/** Two functions of one name are told apart by a number, which is no part of the name. */
function nameAll(fns: readonly Fn[]): Map<Fn, string> {
  const count = new Map<string, number>();
  return new Map(
    fns.map((f) => {
      const n = (count.get(f.name) ?? 0) + 1;
      count.set(f.name, n);
      return [f, n === 1 ? label(f.name) : `${label(f.name)}#${n}`];
    }),
  );
}

/** Every dim that a node mentions. */
function dimsIn(n: Node): readonly Dim[] {
  const dims = typeDims(n.type);
  for (const [key, kind] of Object.entries(kindsOf(n.op)))
    if (kind === "dims") dims.push(...((n.attr as Readonly<Record<string, readonly Dim[]>>)[key] ?? []));
  return dims;
}

const typeDims = (type: Type): Dim[] => (isTuple(type) ? type.tuple.flatMap(typeDims) : [...type.dims]);
