/** From a function to a plan: the passes in their order, then kernels, then memory. A called function goes through the passes
 *  once however often it is called; the memory plan sees its kernels in place, so lifetimes cross calls. */
import { SinanError } from "../errors.ts";
import type { Fn } from "../ir/fn.ts";
import type { Node, Op } from "../ir/node.ts";
import type { TensorType, TupleType } from "../ir/type.ts";
import { define } from "../ops/table.ts";
import type { Artifact } from "../runtime/driver.ts";
import type { HardwareModel } from "../runtime/hardware.ts";
import { type Place, type Plan, type Slot, type Step, typeBytes } from "../runtime/program.ts";
import { absorb } from "./absorb.ts";
import { canonicalDots } from "./canonical.ts";
import { fuse } from "./fuse.ts";
import { groupFn, type GroupFn, storageOf } from "./groups.ts";
import { kernelFor } from "./kernels.ts";
import type { Link, Linked } from "./link.ts";
import { planMemory, type Use, type Value } from "./memory-plan.ts";
import { type Pass, runPasses } from "./pass.ts";
import { simplify } from "./simplify.ts";

/** The graph passes, in order. */
export const passes: readonly Pass[] = [
  { name: "absorb", run: absorb },
  simplify({ dropMarks: true }),
  { name: "canonical-dots", run: canonicalDots },
];

/** @param donated  inputs whose memory results may take over
 *  @throws whatever a pass or a code generator throws, SinanErrors all */
export function compile(fn: Fn, hardware: HardwareModel, donated: ReadonlySet<number> = new Set()): Plan {
  const linker = new Linker(fn, hardware);
  return linker.plan(donated);
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
  const { groups, stored } = fuse(ready);
  const made: Prepared = {
    fn: ready,
    steps: groups.map((g) => ("call" in g ? { call: g.call } : { roots: g.roots, group: groupFn(g, stored) })),
  };
  prepared.set(fn, made);
  return made;
}

/** Lays the kernels of a function and of all it calls end to end. */
class Linker {
  readonly #fn: Fn;
  readonly #hardware: HardwareModel;
  readonly #isInner: boolean;
  readonly #values: Value[] = [];
  readonly #uses: Use[] = [];
  readonly #steps: (
    | { readonly kernel: number; readonly values: readonly number[]; readonly scalars: readonly number[] }
    | { readonly linked: Linked }
  )[] = [];
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

  plan(donated: ReadonlySet<number>): Plan {
    const ready = prepare(this.#fn);
    const args = ready.fn.params.map((p, input) =>
      isHost(p as Node) ? -1 - input : this.#value(p as Node, { input }),
    );
    const results = this.#link(ready, args);
    this.#deliver(ready.fn, results);
    const { limits } = this.#hardware;
    const memory = planMemory(
      this.#values,
      this.#uses,
      ready.fn.results.length,
      limits.alignment,
      donated,
      // A plan within another has its memory in one place of that one's.
      this.#isInner ? undefined : limits.maxBufferBytes,
    );
    const temporary = (place: Place | undefined, bytes: number): Slot => ({
      kind: "temporary",
      block: place?.block ?? 0,
      offset: place?.offset ?? 0,
      bytes,
    });
    const slot = (v: number): Slot => {
      const { bytes, input, output } = this.#values[v] as Value;
      if (input !== undefined) return { kind: "input", index: input, bytes };
      if (output !== undefined) return { kind: "output", index: output, bytes };
      return temporary(memory.places[v], bytes);
    };
    const steps = this.#steps.map((step, i): Step => {
      if ("linked" in step) return step.linked.step(slot, memory.scratch[i] ?? { block: 0, offset: 0 });
      const { kernel, values, scalars } = step;
      const scratch = this.#uses[i]?.scratch ?? 0;
      const slots = values.map(slot);
      return {
        kernel,
        slots: scratch > 0 ? [...slots, temporary(memory.scratch[i], scratch)] : slots,
        scalars,
      };
    });
    return {
      name: this.#fn.name,
      artifacts: this.#artifacts,
      steps,
      blocks: memory.blocks,
      reuse: memory.reuse,
    };
  }

  #value(node: Node, more: Partial<Value> = {}): number {
    return this.#typed(node.type as TensorType, more);
  }

  #typed(type: TensorType, more: Partial<Value> = {}): number {
    this.#values.push({ bytes: typeBytes(type), ...more });
    return this.#values.length - 1;
  }

  /** Appends a function's steps; values are numbers, host scalars −1 − (number of the program's input). Returns its results' values. */
  #link({ fn, steps }: Prepared, args: readonly number[]): number[] {
    const at = new Map<Node, number>(fn.params.map((p, i) => [p as Node, args[i] as number]));
    const items = new Map<Node, readonly number[]>();
    const valueOf = (n: Node): number => {
      const s = storageOf(n);
      if (s.op === "item") return (items.get(s.src[0] as Node) as readonly number[])[s.attr.index] as number;
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
      const artifact = this.#render(group.fn, roots);
      this.#steps.push({
        kernel: this.#kernel(artifact),
        values: [...buffers, ...made],
        scalars: inputs.filter((v) => v < 0).map((v) => -1 - v),
      });
      this.#uses.push({
        reads: buffers,
        writes: made,
        inPlace: group.inPlace.filter((n) => !isHost(n)).map(valueOf),
        scratch: artifact.scratchBytes,
      });
    }
    return fn.results.map(valueOf);
  }

  /** Appends a step that runs plans of its own. */
  #control(node: Node, args: readonly number[]): number[] {
    const { tuple } = node.type as TupleType;
    const results = tuple.map((t) => this.#typed(t as TensorType));
    const linked = (define(node.op).link as Link<Op>)(node, {
      args,
      results,
      alignment: this.#hardware.limits.alignment,
      plan: (fn, donated) => new Linker(fn, this.#hardware, this).plan(donated),
      bytes: (v) => (this.#values[v] as Value).bytes,
    });
    this.#steps.push({ linked });
    this.#uses.push({ reads: args, writes: results, inPlace: [], scratch: linked.scratch });
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
      const value = this.#values[v] as Value;
      if (value.input === undefined && value.output === undefined) {
        this.#values[v] = { ...value, output };
        return;
      }
      const copy = this.#value(fn.results[output] as Node, { output });
      this.#steps.push({ kernel: -1, values: [v, copy], scalars: [] });
      this.#uses.push({ reads: [v], writes: [copy], inPlace: [], scratch: 0 });
    });
  }
}

const isHost = (n: Node): boolean => n.op === "param" && (n.attr.type as TensorType).space === "host";
