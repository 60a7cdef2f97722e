/** Scans, choices and loops as steps of a plan. The functions that they run are planned by themselves; their memory, and the second
 *  places of what a loop carries, are memory of the step while it runs. */
import type { Link, LinkTools } from "../compiler/link.ts";
import { instantiate } from "../ir/copy.ts";
import { type Fn, makeFn } from "../ir/fn.ts";
import type { Node, NodeOf } from "../ir/node.ts";
import { within } from "../ir/scope.ts";
import { tensorType } from "../ir/type.ts";
import { build } from "../ops/build.ts";
import { newScope } from "../ops/table.ts";
import type { Place, Plan, Slot } from "../runtime/program.ts";
import { type Carried, conduct, type CondStep, type ScanStep, type WhileStep } from "./conduct.ts";

const scanBodies = new WeakMap<Fn, Map<number, Fn>>();

/** The body on whole stacks: the number of the step, its last parameter, says which rows are read and written. */
function steppedBody(node: NodeOf<"scan">): Fn {
  const { fn, consts, carry, length } = node.attr;
  const known = scanBodies.get(fn)?.get(length);
  if (known) return known;
  const scope = newScope();
  const made = within(scope, () => {
    const types = node.src.map((s, i) => (i < consts + carry ? (fn.params[i] as Node).type : s.type));
    const params = [...types, tensorType("i32", [], "host")].map((type, index) =>
      scope.make("param", [], { index, name: "", type }),
    );
    const row = params[node.src.length] as Node;
    const args = fn.params.map((_, i) =>
      i < consts + carry ? (params[i] as Node) : (build("pick", [params[i] as Node, row], {}) as Node),
    );
    const results = instantiate(fn, args).map((r, j) => (j < carry ? r : (build("put", [r, row], { length }) as Node)));
    return makeFn(`${fn.name}.step`, params, results);
  });
  scanBodies.set(fn, (scanBodies.get(fn) ?? new Map<number, Fn>()).set(length, made));
  return made;
}

/** Bytes of a plan's own memory, which is one block or none. */
const memoryOf = ({ blocks: [bytes = 0] }: Plan): number => bytes;

const behind = ({ block, offset }: Place, bytes: number): Place => ({ block, offset: offset + bytes });

/** Inputs that the results of the same number may take over. */
const carryOf = (consts: number, carry: number): Set<number> =>
  new Set(Array.from({ length: carry }, (_, k) => consts + k));

/** Memory of a step: places one after another. */
class Shelf {
  readonly #alignment: number;
  bytes = 0;

  constructor(alignment: number) {
    this.#alignment = alignment;
  }

  put(bytes: number): number {
    const at = this.bytes;
    this.bytes += Math.max(Math.ceil(bytes / this.#alignment), 1) * this.#alignment;
    return at;
  }
}

/** Offsets of the second places of what a loop carries; undefined where the body writes in place. */
const secondPlaces = (tools: LinkTools, body: Plan, consts: number, carry: number, shelf: Shelf) =>
  Array.from({ length: carry }, (_, k) =>
    body.reuse[k] === consts + k ? undefined : shelf.put(tools.bytes(tools.results[k] as number)),
  );

const carriedAt = (
  second: readonly (number | undefined)[],
  initial: readonly Slot[],
  results: readonly Slot[],
  at: Place,
): Carried[] =>
  second.map((offset, k) => {
    const result = results[k] as Slot;
    const other: Slot | undefined =
      offset === undefined ? undefined : { kind: "temporary", ...behind(at, offset), bytes: result.bytes };
    return { initial: initial[k] as Slot, result, other };
  });

/** Initial values that results may lie over. With an even number of steps the first one writes beside the results; a carry alone that is
 *  written in place is read where it is written. A result that is stacked, or another reader, would be in the way. */
function replaceable(
  { consts, carry, length }: { readonly consts: number; readonly carry: number; readonly length: number },
  second: readonly (number | undefined)[],
  tools: LinkTools,
): number[] {
  const { args, results } = tools;
  const bytes = (v: number): number => tools.bytes(v);
  const inPlace = second.filter((s) => s === undefined).length;
  if (length === 0 || (inPlace > 0 ? carry > 1 : length % 2 === 1)) return [];
  const stacked = new Set(results.slice(carry).map(bytes));
  return args
    .slice(consts, consts + carry)
    .filter((v) => v >= 0 && !stacked.has(bytes(v)) && args.indexOf(v) === args.lastIndexOf(v));
}

export const linkScan: Link<"scan"> = (node, tools) => {
  const { consts, carry, length, reverse } = node.attr;
  const body = tools.plan(steppedBody(node), carryOf(consts, carry));
  const shelf = new Shelf(tools.alignment);
  const own = shelf.put(memoryOf(body));
  const second = secondPlaces(tools, body, consts, carry, shelf);
  return {
    scratch: shelf.bytes,
    inPlace: replaceable(node.attr, second, tools),
    step: (slot, at): ScanStep => {
      const args = tools.args.map(slot);
      const results = tools.results.map(slot);
      return {
        kind: "scan",
        name: `scan of ${length} steps`,
        inner: [body],
        times: length,
        conduct,
        body,
        length,
        reverse,
        consts: args.slice(0, consts),
        carry: carriedAt(second, args.slice(consts, consts + carry), results, at),
        stackedInputs: args.slice(consts + carry),
        stackedOutputs: results.slice(carry),
        scratch: behind(at, own),
      };
    },
  };
};

export const linkCond: Link<"cond"> = (node, tools) => {
  const [yes, no] = [tools.plan(node.attr.yes, new Set()), tools.plan(node.attr.no, new Set())];
  return {
    scratch: Math.max(memoryOf(yes), memoryOf(no)),
    step: (slot, at): CondStep => {
      const [predicate, ...args] = tools.args.map(slot) as [Slot, ...Slot[]];
      const results = tools.results.map(slot);
      return { kind: "cond", name: "cond", inner: [yes, no], conduct, predicate, yes, no, args, results, scratch: at };
    },
  };
};

export const linkWhile: Link<"while"> = (node, tools) => {
  const { consts } = node.attr;
  const carry = node.src.length - consts;
  const test = tools.plan(node.attr.test, new Set());
  const body = tools.plan(node.attr.body, carryOf(consts, carry));
  const shelf = new Shelf(tools.alignment);
  const own = shelf.put(Math.max(memoryOf(test), memoryOf(body)));
  const verdict = shelf.put(1);
  const second = secondPlaces(tools, body, consts, carry, shelf);
  return {
    scratch: shelf.bytes,
    step: (slot, at): WhileStep => {
      const args = tools.args.map(slot);
      return {
        kind: "while",
        name: "while",
        inner: [test, body],
        conduct,
        test,
        body,
        consts: args.slice(0, consts),
        carry: carriedAt(second, args.slice(consts), tools.results.map(slot), at),
        verdict: { kind: "temporary", ...behind(at, verdict), bytes: 1 },
        scratch: behind(at, own),
      };
    },
  };
};
