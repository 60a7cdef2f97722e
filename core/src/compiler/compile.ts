/** From a function to a plan: the passes in their order, then kernels, then memory. A called function goes through the passes
 *  once however often it is called; the memory plan sees its kernels in place, so lifetimes cross calls. */
import { SinanError } from "../errors.ts";
import { known } from "../ir/dim.ts";
import type { Fn } from "../ir/fn.ts";
import { dimsOf, isHost, type Node, type Op } from "../ir/node.ts";
import { isTuple, type TensorType, type TupleType } from "../ir/type.ts";
import { define } from "../ops/table.ts";
import type { Artifact } from "../runtime/driver.ts";
import type { HardwareModel } from "../runtime/hardware.ts";
import { watched } from "../runtime/watch.ts";
import { type Place, type Plan, type Slot, type Step, typeBytes } from "../runtime/program.ts";
import { groupRules } from "../kernel/group-rules.ts";
import { absorb } from "./absorb.ts";
import { canonicalDots } from "./canonical.ts";
import { fuse } from "./fuse.ts";
import { groupFn, type GroupFn, elementCount, storageOf } from "./groups.ts";
import { kernelFor } from "./kernels.ts";
import type { Fit, Scheduled } from "./layout.ts";
import type { Link, Linked } from "./link.ts";
import { planMemory, renamed, updatesEarly, type Use, type Value } from "./memory-plan.ts";
import { type Pass, runPasses } from "./pass.ts";
import { simplify } from "./simplify.ts";

/** The graph passes, in order. A device may add some that are speed alone. */
export const passes: Pass[] = [
  { name: "absorb", run: absorb },
  simplify({ dropMarks: true }),
  { name: "canonical-dots", run: canonicalDots },
];

/** @param donated  inputs whose memory results may take over
 *  @throws whatever a pass or a code generator throws, SinanErrors all */
export function compile(fn: Fn, hardware: HardwareModel, donated: ReadonlySet<number> = new Set(), fit?: Fit): Plan {
  const linker = new Linker(fn, hardware);
  return linker.plan(donated, fit);
}

/** A function ready to be linked: its groups with their functions, each made once. */
interface Prepared {
  readonly fn: Fn;
  readonly steps: readonly ({ readonly roots: readonly Node[]; readonly group: GroupFn } | { readonly call: Node })[];
}

const prepared = new WeakMap<Fn, Prepared>();

function prepare(fn: Fn): Prepared {
  const known = prepared.get(fn);
  if (known) return known;
  const ready = runPasses(fn, passes);
  const { groups, stored } = watched("pass", "fuse", () => fuse(ready));
  const made: Prepared = {
    fn: ready,
    steps: groups.map((g) => ("call" in g ? { call: g.call } : { roots: g.roots, group: groupFn(g, stored) })),
  };
  prepared.set(fn, made);
  return made;
}

type LinkStep =
  | {
      readonly kernel: number;
      readonly values: readonly number[];
      readonly scalars: readonly number[];
      readonly over: boolean | undefined;
    }
  | { readonly linked: Linked };

/** Lays the kernels of a function and of all it calls end to end. */
class Linker {
  readonly #fn: Fn;
  readonly #hardware: HardwareModel;
  readonly #isInner: boolean;
  readonly #values: (Value & { readonly node: Node })[] = [];
  readonly #uses: Use[] = [];
  readonly #steps: LinkStep[] = [];
  /** Those of the program, which plans within it share. */
  readonly #artifacts: Artifact[];
  readonly #indexOf: Map<Artifact, number>;

  constructor(fn: Fn, hardware: HardwareModel, outer?: Linker) {
    this.#fn = fn;
    this.#isInner = outer !== undefined;
    this.#hardware = hardware;
    this.#artifacts = outer ? outer.#artifacts : [];
    this.#indexOf = outer ? outer.#indexOf : new Map<Artifact, number>();
  }

  plan(donated: ReadonlySet<number>, fit?: Fit): Plan {
    const ready = prepare(this.#fn);
    const args = ready.fn.params.map((p, input) =>
      isHost(p as Node) ? -1 - input : this.#value(p as Node, { input }),
    );
    const results = this.#link(ready, args);
    this.#deliver(ready.fn, results);
    const { alignment, maxBufferBytes } = this.#hardware.limits;
    const outputs = ready.fn.results.length;
    if (donated.size > 0) this.#reorder(updatesEarly(this.#values, this.#uses, donated));
    const repeatable = this.#steps.map((s) => !("linked" in s));
    // A plan within another has its memory in one place of that one's.
    const mostBytes = this.#isInner ? undefined : maxBufferBytes;
    const { name } = this.#fn;
    const fitted = fit?.({
      name,
      repeatable,
      outputs,
      alignment,
      donated,
      mostBytes,
      values: this.#values,
      uses: this.#uses,
    });
    const values = fitted?.values ?? this.#values;
    const order = fitted?.steps ?? this.#steps.map((_, origin): Scheduled => ({ origin, rename: none }));
    const uses = order.map((s) => renamed(this.#uses[s.origin] as Use, s.rename));
    const memory = planMemory(values, uses, outputs, alignment, donated, mostBytes);
    const temporary = (place: Place | undefined, bytes: number): Slot => ({
      kind: "temporary",
      ...(place ?? begin),
      bytes,
    });
    const slot = (v: number): Slot => {
      const { bytes, input, output } = values[v] as Value;
      if (input !== undefined) return { kind: "input", index: input, bytes };
      if (output !== undefined) return { kind: "output", index: output, bytes };
      return temporary(memory.places[v], bytes);
    };
    const steps = order.map(({ origin, rename }, i): Step => {
      const step = this.#steps[origin] as LinkStep;
      const at = (v: number): Slot => slot(rename.get(v) ?? v);
      const scratch = memory.scratch[i];
      if ("linked" in step) return step.linked.step(at, scratch ?? begin);
      const { kernel, scalars, over } = step;
      const slots = step.values.map(at);
      if (scratch) slots.push(temporary(scratch, (uses[i] as Use).scratch));
      return { kernel, slots, scalars, over };
    });
    return {
      name,
      artifacts: this.#artifacts,
      steps,
      blocks: memory.blocks,
      reuse: memory.reuse,
      layout: { values, uses, memory, alignment },
    };
  }

  #reorder(order: readonly number[]): void {
    const [steps, uses] = [[...this.#steps], [...this.#uses]];
    order.forEach((from, to) => {
      this.#steps[to] = steps[from] as LinkStep;
      this.#uses[to] = uses[from] as Use;
    });
  }

  #value(node: Node, more: Partial<Value> = {}): number {
    return this.#typed(node, node.type as TensorType, more);
  }

  #typed(node: Node, type: TensorType, more: Partial<Value> = {}): number {
    this.#values.push({ bytes: typeBytes(type), node, ...more });
    return this.#values.length - 1;
  }

  /** Appends a function's steps; values are numbers, host scalars −1 − (number of the program's input). Returns its results' values. */
  #link({ fn, steps }: Prepared, args: readonly number[]): number[] {
    const at = new Map<Node, number>(fn.params.map((p, i) => [p as Node, args[i] as number]));
    const items = new Map<Node, readonly number[]>();
    const valueOf = (n: Node): number => {
      const s = storageOf(n);
      if (s.op === "item" && items.has(s.src[0] as Node))
        return (items.get(s.src[0] as Node) as readonly number[])[s.attr.index] as number;
      return at.get(s) as number;
    };
    for (const step of steps) {
      if ("call" in step) {
        const values = step.call.src.map(valueOf);
        items.set(
          step.call,
          step.call.op === "call" ? this.#link(prepare(step.call.attr.fn), values) : this.#control(step.call, values),
        );
        continue;
      }
      const { roots, group } = step;
      // A host scalar that has memory too (see fuse) is still passed by value.
      const inputs = group.inputs.map((n) =>
        n.op === "param" && isHost(n) ? (args[n.attr.index] as number) : valueOf(n),
      );
      const buffers = inputs.filter((v) => v >= 0);
      const made = roots.map((r) => this.#value(r));
      roots.forEach((r, i) => at.set(r, made[i] as number));
      // As its kernel is made now: the group may be of a time, and a device, before there were such rules.
      const over = groupRules()?.isOver(group.fn);
      const inPlace = over ? buffers.slice(0, 1) : group.inPlace.map(valueOf);
      const artifact = this.#render(group.fn, roots);
      this.#steps.push({
        kernel: this.#kernel(artifact),
        values: [...buffers, ...made],
        scalars: inputs.filter((v) => v < 0).map((v) => -1 - v),
        over,
      });
      this.#uses.push({
        reads: buffers,
        writes: made,
        // An argument that a region was given twice may be read in another way too.
        inPlace: inPlace.filter((v) => buffers.filter((b) => b === v).length === 1),
        scratch: artifact.scratchBytes,
        work: workOf(
          group.anchor,
          [...buffers, ...made].map((v) => (this.#values[v] as Value).bytes),
        ),
      });
    }
    return fn.results.map(valueOf);
  }

  /** Appends a step that runs plans of its own. */
  #control(node: Node, args: readonly number[]): number[] {
    const { tuple } = node.type as TupleType;
    const results = tuple.map((t) => this.#typed(node, t as TensorType));
    const linked = (define(node.op).link as Link<Op>)(node, {
      args,
      results,
      alignment: this.#hardware.limits.alignment,
      plan: (fn, donated) => new Linker(fn, this.#hardware, this).plan(donated),
      bytes: (v) => (this.#values[v] as Value).bytes,
    });
    this.#steps.push({ linked });
    const reads = args.filter((v) => v >= 0);
    const { scratch, inPlace = [] } = linked;
    this.#uses.push({ reads, writes: results, inPlace, scratch, work: 0 });
    return results;
  }

  /** @throws what the code generator throws, with the user's line */
  #render(fn: Fn, roots: readonly Node[]): Artifact {
    try {
      return kernelFor(fn, this.#hardware);
    } catch (error) {
      const site = roots.find((r) => r.site)?.site;
      if (error instanceof SinanError && site) error.message += `\n  in the kernel ${fn.name}, made at ${site}`;
      throw error;
    }
  }

  #kernel(artifact: Artifact): number {
    const known = this.#indexOf.get(artifact);
    if (known !== undefined) return known;
    this.#artifacts.push(artifact);
    this.#indexOf.set(artifact, this.#artifacts.length - 1);
    return this.#artifacts.length - 1;
  }

  /** Makes values the program's outputs: written there by their kernel, or copied where the value is an input or goes to two. */
  #deliver(fn: Fn, results: readonly number[]): void {
    results.forEach((v, output) => {
      const value = this.#values[v] as Value & { readonly node: Node };
      if (value.input === undefined && value.output === undefined) {
        this.#values[v] = { ...value, output };
        return;
      }
      const copy = this.#value(fn.results[output] as Node, { output });
      this.#steps.push({ kernel: -1, values: [v, copy], scalars: [], over: true });
      this.#uses.push({ reads: [v], writes: [copy], inPlace: [v], scratch: 0, work: 2 * value.bytes });
    });
  }
}

const none: ReadonlyMap<number, number> = new Map();
const begin: Place = { block: 0, offset: 0 };

/** Operations in the time that moves a byte. */
const operationsPerByte = 4;

/** About how many operations a kernel is. */
function workOf(anchor: Node | undefined, bytes: readonly number[]): number {
  const moved = operationsPerByte * bytes.reduce((a, b) => a + b, 0);
  if (!anchor) return moved;
  const [lhs, rhs] = anchor.src as [Node, Node];
  // An attention: each element of its queries meets each key.
  if (isTuple(anchor.type))
    return moved + (define(anchor.op).flops ?? 1) * elementCount(lhs) * known(dimsOf(rhs)[2] ?? 1, "a kernel");
  const steps = anchor.op === "dot" ? known(dimsOf(lhs)[anchor.attr.contract[0][0] ?? 0] ?? 1, "a product") : 1;
  return moved + 2 * steps * elementCount(anchor);
}
