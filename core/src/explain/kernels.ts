/** The kernels of a plan, as data for people: what they compute and move, how they are scheduled, whose lines they are. */
import { groupOf, groups, lowered, tuningOf } from "../compiler/kernels.ts";
import { known, sizeOf } from "../ir/dim.ts";
import { type Fn, nodesOf, topological } from "../ir/fn.ts";
import { dimsOf, type Node } from "../ir/node.ts";
import { isTuple } from "../ir/type.ts";
import { type Option, schedule } from "../kernel/index.ts";
import { rowFusion } from "../kernel/row-fusion.ts";
import { define } from "../ops/table.ts";
import type { Executable } from "../runtime/driver.ts";
import type { HardwareModel } from "../runtime/hardware.ts";
import type { Launch, Loaded, Plan } from "../runtime/program.ts";
import { codegenFor } from "../runtime/registry.ts";

export interface Kernel {
  readonly name: string;
  readonly executable: Executable;
  /** Launches in one call. Those of loops whose length the device decides are counted once. */
  readonly count: number;
  /** Operations of one launch, as the op table counts them: an exponential is some. */
  readonly flops: number;
  /** Bytes that one launch reads and writes at least. */
  readonly bytes: number;
  /** The user's lines, and the modules that they are in, whose values it makes; what takes longest first: a product before what is added
   *  to it. */
  readonly sites: readonly string[];
}

/** Something that a schedule leaves open. */
export interface ChoiceReport {
  readonly name: string;
  readonly value: number;
  /** What it would be without a tuning. */
  readonly heuristic: number;
}

/** How a kernel is scheduled; empty for a device that takes graphs. */
export interface ScheduleReport {
  /** `fold of 64 rows in 4 passes`, `split 16`, `vectorize 4` …, in order. */
  readonly schedule: readonly string[];
  /** What was decided for it, by the heuristics or by a tuning. */
  readonly choices: readonly ChoiceReport[];
}

export function schedulesOf(
  { plan, executables }: Loaded,
  hardware: HardwareModel,
): (of: Executable) => ScheduleReport {
  const isScheduled = codegenFor(hardware).level === "loops";
  const known = new Map(
    plan.artifacts.map((artifact, k): [Executable | undefined, ScheduleReport] => {
      const group = groupOf(artifact);
      if (!group || !isScheduled) return [executables[k], { schedule: [], choices: [] }];
      const choices = new Map<string, ChoiceReport>();
      const ahead = groups.get(artifact)?.ahead;
      const chooser = ahead?.choose ?? tuningOf(artifact)?.chooser(group, hardware);
      const options = schedule(ahead?.main ?? lowered(group), hardware, (name, heuristic) => {
        const value = chooser?.(name, heuristic) ?? heuristic;
        if (!choices.has(name)) choices.set(name, { name, value, heuristic });
        return value;
      });
      return [
        executables[k],
        {
          schedule: [...(ahead ? ["weights packed once"] : []), ...foldText(group), ...options.map(optionText)],
          choices: [...choices.values()],
        },
      ];
    }),
  );
  return (executable) => known.get(executable) ?? { schedule: [], choices: [] };
}

/** That a kernel goes row by row, and how often along each: a value that a later pass reads stays in scratch memory. */
function foldText(group: Fn): string[] {
  const rows = rowFusion()?.rowsOf(group);
  return rows ? [`fold of ${rows.rows} rows in ${rows.kept.length} passes`] : [];
}

export function kernelsOf({ plan, executables }: Loaded): Kernel[] {
  const steps = launchesOf(plan);
  return plan.artifacts.flatMap((artifact, k) => {
    const own = steps.filter(({ launch }) => launch.kernel === k);
    const [first] = own;
    if (!first) return [];
    const group = groupOf(artifact);
    return [
      {
        name: artifact.name,
        executable: executables[k] as Executable,
        count: own.reduce((total, { times }) => total + times, 0),
        flops: group ? flopsOf(group) : 0,
        bytes: first.launch.slots.reduce((total, { bytes }) => total + bytes, 0) - artifact.scratchBytes,
        sites: [...new Set(own.flatMap(({ sites }) => sites))],
      },
    ];
  });
}

interface Placed {
  readonly launch: Launch;
  readonly sites: readonly string[];
  readonly times: number;
}

/** The launches of a plan and of the loops in it. */
function launchesOf({ steps, layout }: Plan, times = 1): Placed[] {
  const stored = new Set(layout.values.map(({ node }) => node));
  return steps.flatMap((step, i): Placed[] => {
    if ("inner" in step) return step.inner.flatMap((plan) => launchesOf(plan, times * (step.times ?? 1)));
    const written = layout.uses[i]?.writes ?? [];
    const made = written.flatMap((v) => layout.values[v]?.node ?? []);
    const sites = [...made.flatMap((n) => anchorOf(n, stored) ?? []), ...made].flatMap((n) => n.site ?? []);
    return [{ launch: step, sites, times }];
  });
}

/** The product, sum or attention of which a kernel makes a value. */
function anchorOf(made: Node, stored: ReadonlySet<Node>): Node | undefined {
  const own = topological([made], (n) => n === made || !stored.has(n));
  return own.findLast((n) => n.op === "dot" || isTuple(n.type)) ?? own.findLast((n) => n.op === "reduce");
}

const elements = (n: Node): number => (isTuple(n.type) ? 0 : known(sizeOf(dimsOf(n)), "explain"));

function flopsOf(group: Fn): number {
  return nodesOf(group).reduce((total, n) => total + flopsOfNode(n), 0);
}

function flopsOfNode(n: Node): number {
  const { role, flops = 0 } = define(n.op);
  if (n.op === "dot") {
    const contracted = n.attr.contract[0].map((axis) => dimsOf(n.src[0] as Node)[axis] ?? 1);
    return 2 * elements(n) * known(sizeOf(contracted), "explain");
  }
  // Weights [groups, out, in, ...window]; cotangents [images, groups, out, ...windows].
  if (n.op === "conv") return 2 * elements(n) * known(sizeOf(dimsOf(n.src[1] as Node).slice(2)), "explain");
  if (n.op === "convWeights") {
    const [images, , , ...windows] = dimsOf(n.src[1] as Node);
    return 2 * elements(n) * known(sizeOf([images ?? 1, ...windows]), "explain");
  }
  if (role === "elementwise") return flops * elements(n);
  return flops * Math.max(elements(n), ...n.src.map(elements));
}

/** An option with the number that matters of it. */
function optionText(option: Option): string {
  switch (option.option) {
    case "split":
      return `split ${option.factor}`;
    case "vectorize":
      return `vectorize ${option.lanes}`;
    case "accumulateParts":
      return `accumulateParts ${option.parts}`;
    case "accumulateRows":
      return `accumulateRows ${option.parts}`;
    case "sumRuns":
      return `sumRuns ${option.run}`;
    case "accumulateBlocks":
      return `accumulateBlocks ${option.block}`;
    case "stage":
    case "stagePairs":
      return `${option.option} operand ${option.operand} by ${option.tile}`;
    case "peel":
      return `peel at ${option.at}`;
    case "pad":
      return `pad to ${option.multiple}`;
    default:
      return option.option;
  }
}
