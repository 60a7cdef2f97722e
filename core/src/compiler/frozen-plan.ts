/** A plan in which some inputs stay the same from call to call: what its products pack of them is an input too, which whoever runs the
 *  plan makes once for each of those values. */
import type { Fn } from "../ir/fn.ts";
import { tensorTypeOf } from "../ir/node.ts";
import { within } from "../ir/scope.ts";
import type { TensorType } from "../ir/type.ts";
import { type PackedAhead, packAhead } from "../kernel/products/pack-ahead.ts";
import { build } from "../ops/build.ts";
import { newScope } from "../ops/table.ts";
import type { Artifact } from "../runtime/driver.ts";
import type { HardwareModel } from "../runtime/hardware.ts";
import { type Launch, type Plan, type Slot, type Step, typeBytes } from "../runtime/program.ts";
import { codegenFor } from "../runtime/registry.ts";
import { groupOf, groups, lowered, renderLoops } from "./kernels.ts";
import type { Choose } from "../kernel/plan.ts";
import { tuned } from "./tuning.ts";

/** An input behind the function's own: what a kernel packs of one of those. */
export interface Packed {
  readonly input: number;
  readonly type: TensorType;
  /** The kernel, as it was before it was scheduled, and its code. */
  readonly kernel: Fn;
  readonly artifact: Artifact;
}

/** A product in two kernels. */
interface Split {
  readonly pack: Omit<Packed, "input">;
  /** Which of its buffers the weights are. */
  readonly weights: number;
  readonly main: Artifact;
}

/** @param plan    of a function of so many inputs
 *  @param frozen  which of them stay */
export function frozenPlan(
  plan: Plan,
  inputs: number,
  hardware: HardwareModel,
  frozen: ReadonlySet<number>,
): { readonly plan: Plan; readonly packed: readonly Packed[] } {
  if (codegenFor(hardware).level !== "loops") return { plan, packed: [] };
  const packed: Packed[] = [];
  const splits = new Map<string, Split | undefined>();
  const artifacts = new Map<Artifact, number>();
  const numberOf = (artifact: Artifact): number => {
    if (!artifacts.has(artifact)) artifacts.set(artifact, artifacts.size);
    return artifacts.get(artifact) as number;
  };
  const values = [...plan.layout.values];
  const uses = [...plan.layout.uses];
  const inputOf = (split: Split, input: number): number => {
    const known = packed.findIndex((p) => p.input === input && p.artifact === split.pack.artifact);
    if (known >= 0) return inputs + known;
    packed.push({ ...split.pack, input });
    const node = within(newScope(), () => build("param", [], { index: 0, name: "", type: split.pack.type }));
    values.push({ bytes: typeBytes(split.pack.type), input: inputs + packed.length - 1, node });
    return inputs + packed.length - 1;
  };
  const rewritten = (step: Launch, i: number): Launch => {
    const artifact = plan.artifacts[step.kernel];
    if (!artifact) return step;
    const group = groupOf(artifact);
    const reads = group ? group.params.filter((p) => tensorTypeOf(p).space !== "host").length : 0;
    const isKept = (slot: Slot | undefined): boolean => slot?.kind === "input" && frozen.has(slot.index);
    const kept = step.slots.slice(0, reads).map(isKept);
    const key = `${step.kernel} ${kept.join(" ")}`;
    if (group && kept.includes(true) && !splits.has(key)) splits.set(key, splitOf(group, hardware, kept));
    const split = splits.get(key);
    if (!split) return { ...step, kernel: numberOf(artifact) };
    const weights = step.slots[split.weights] as Slot & { readonly index: number };
    const index = inputOf(split, weights.index);
    const { scratchBytes } = split.main;
    const spare = artifact.scratchBytes > 0 ? step.slots.at(-1) : undefined;
    const slots = step.slots.slice(0, spare ? -1 : undefined);
    slots[split.weights] = { kind: "input", index, bytes: typeBytes(split.pack.type) };
    if (spare && scratchBytes > 0) slots.push({ ...spare, bytes: scratchBytes });
    const use = uses[i];
    const value = values.findIndex((v) => v.input === index);
    if (use) uses[i] = { ...use, reads: use.reads.with(split.weights, value), scratch: scratchBytes };
    return { ...step, kernel: numberOf(split.main), slots };
  };
  const splitOf = (group: Fn, model: HardwareModel, kept: readonly boolean[]): Split | undefined => {
    const split = splitGroup(group, model, kept);
    const most = plan.artifacts.find((a) => groupOf(a) === group)?.scratchBytes ?? 0;
    // The memory of the step was planned for the whole kernel.
    return split && split.main.scratchBytes <= most ? split : undefined;
  };
  const steps = plan.steps.map((step, i): Step => ("inner" in step ? step : rewritten(step, i)));
  if (packed.length === 0) return { plan, packed };
  return {
    plan: { ...plan, steps, artifacts: [...artifacts.keys()], layout: { ...plan.layout, values, uses } },
    packed,
  };
}

const splitsOf = new WeakMap<HardwareModel, Map<string, { readonly group: Fn; readonly split: Split | undefined }>>();

/** The group's kernel in two, made once. */
function splitGroup(group: Fn, hardware: HardwareModel, kept: readonly boolean[]): Split | undefined {
  const codegen = codegenFor(hardware);
  const { by } = tuned;
  const known = splitsOf.get(hardware) ?? new Map<string, { group: Fn; split: Split | undefined }>();
  splitsOf.set(hardware, known);
  const key = `${group.id} ${kept.join(" ")} ${by?.hash}`;
  const before = known.get(key);
  if (before) return before.split;
  const choose = by?.chooser(group, hardware) ?? ((_: string, otherwise: number): number => otherwise);
  const isKept = (param: number): boolean => kept[param] === true;
  const ahead: PackedAhead | undefined = packAhead(lowered(group), { hardware, choose, isKept });
  let split: Split | undefined;
  if (ahead) {
    /** Of the two kernels. They follow from the group and from what is kept of it. */
    const made = (part: string, kernel: Fn, chooses: Choose | undefined): Artifact => {
      const make = (): Artifact => renderLoops(kernel, codegen, hardware, chooses);
      return codegen.cached?.(group, hardware, `${by?.hash} ${part} ${kept.join(" ")}`, make) ?? make();
    };
    const main = made("packed", ahead.main, ahead.choose);
    groups.set(main, { fn: group, by, ahead });
    const artifact = made("packs", ahead.pack, undefined);
    split = { main, weights: ahead.weights, pack: { type: ahead.panels, kernel: ahead.pack, artifact } };
  }
  known.set(key, { group, split });
  return split;
}
