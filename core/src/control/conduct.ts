/** Runs a plan with loops and choices in it: its commands are made one after another and submitted in batches, as far as they are
 *  known; where the next ones hang on a value of the device, the rest is made when that is there, and the caller has long
 *  gone on.
 *
 *  What a loop carries alternates between the place of the loop's result and one beside it, such that the last step writes the
 *  result; a body that may write over what it reads needs the one place only. The first step reads the initial value where it lies. */
import type { Command, Executable, Memory, Region } from "../runtime/driver.ts";
import { hostTurn } from "../runtime/turn.ts";
import {
  addCommands,
  type Conduct,
  type Controlled,
  type Launch,
  type Place,
  type Plan,
  type Running,
  type Slot,
} from "../runtime/program.ts";

/** Where a loop keeps one value of its carry. */
export interface Carried {
  readonly initial: Slot;
  readonly result: Slot;
  /** Absent where the body writes in place. */
  readonly other: Slot | undefined;
}

export interface ScanStep extends Controlled {
  readonly kind: "scan";
  readonly body: Plan;
  readonly length: number;
  readonly reverse: boolean;
  readonly consts: readonly Slot[];
  readonly carry: readonly Carried[];
  readonly stackedInputs: readonly Slot[];
  readonly stackedOutputs: readonly Slot[];
  /** Where the body's own memory begins. */
  readonly scratch: Place;
}

export interface CondStep extends Controlled {
  readonly kind: "cond";
  readonly predicate: Slot;
  readonly yes: Plan;
  readonly no: Plan;
  readonly args: readonly Slot[];
  readonly results: readonly Slot[];
  readonly scratch: Place;
}

export interface WhileStep extends Controlled {
  readonly kind: "while";
  readonly test: Plan;
  readonly body: Plan;
  readonly consts: readonly Slot[];
  readonly carry: readonly Carried[];
  readonly verdict: Slot;
  readonly scratch: Place;
}

export type ControlStep = ScanStep | CondStep | WhileStep;

/** Where a plan that runs within another finds what it works on. */
interface Frame {
  readonly input: (index: number, bytes: number) => Region;
  readonly output: (index: number, bytes: number) => Region;
  readonly scalar: (index: number) => number;
  /** Where its own memory begins. */
  readonly base: Place;
}

/** Commands of one submission: enough that submitting costs nothing, few enough that a long loop needs no memory for them. */
const batch = 1024;
/** Milliseconds of work without a pause, while a loop goes on at once: so long does nobody else have a turn. */
const turn = 8;

/** Asks for the first byte of regions on its way. */
type Conducting = Generator<Region, void, number>;

interface Machine {
  readonly executables: readonly Executable[];
  readonly blocks: readonly Memory[];
  push(command: Command): void;
}

export const conduct: Conduct = (running: Running): Promise<void> | undefined => {
  let commands: Command[] = [];
  const submit = () => {
    if (commands.length === 0) return;
    running.submit(commands);
    commands = [];
  };
  const machine: Machine = {
    executables: running.executables,
    blocks: running.blocks,
    push: (command) => {
      if (commands.push(command) >= batch) submit();
    },
  };
  const whole = ({ memory, offset }: Region, bytes: number): Region => ({ memory, offset, bytes });
  const work = runPlan(running.plan, machine, {
    input: (i, bytes) => whole(running.input(i), bytes),
    output: (j, bytes) => whole(running.output(j), bytes),
    scalar: running.scalar,
    base: { block: 0, offset: 0 },
  });
  const first = work.next();
  submit();
  return first.done ? undefined : goOn(work, first.value, running, submit);
};

async function goOn(work: Conducting, first: Region, running: Running, submit: () => void): Promise<void> {
  let since = performance.now();
  for (let asked: Region | undefined = first; asked; ) {
    const answer: number = await running.read(asked);
    const next = work.next(answer);
    submit();
    asked = next.done ? undefined : next.value;
    if (performance.now() - since < turn) continue;
    await hostTurn();
    since = performance.now();
  }
}

function* runPlan(plan: Plan, machine: Machine, frame: Frame): Conducting {
  const region = (slot: Slot): Region => place(slot, machine, frame);
  // All steps that are no launches are of this room.
  for (const step of plan.steps as readonly (Launch | ControlStep)[]) {
    if ("slots" in step) addCommands(machine, step, machine.executables, region, frame.scalar);
    else if (step.kind === "scan") yield* runScan(step, machine, frame, region);
    else if (step.kind === "cond") {
      const chosen = (yield region(step.predicate)) !== 0 ? step.yes : step.no;
      yield* runPlan(chosen, machine, {
        input: (i) => region(step.args[i] as Slot),
        output: (j) => region(step.results[j] as Slot),
        scalar: frame.scalar,
        base: within(frame.base, step.scratch),
      });
    } else yield* runWhile(step, machine, frame, region);
  }
}

/** A place of a plan that has its own memory at `base`. */
const within = (base: Place, { block, offset }: Place): Place => ({
  block: base.block + block,
  offset: base.offset + offset,
});

function place(slot: Slot, { blocks }: Machine, { input, output, base }: Frame): Region {
  if (slot.kind === "temporary") {
    const { block, offset } = within(base, slot);
    return { memory: blocks[block] as Memory, offset, bytes: slot.bytes };
  }
  return (slot.kind === "input" ? input : output)(slot.index, slot.bytes);
}

type At = (slot: Slot) => Region;

function* runScan(step: ScanStep, machine: Machine, frame: Frame, region: At): Conducting {
  const { body, length, reverse, consts, carry, stackedInputs, stackedOutputs } = step;
  if (length === 0) for (const { initial, result } of carry) machine.push(copyOf(region(initial), region(result)));
  const inputs = [...consts, ...carry.map((c) => c.result), ...stackedInputs].map(region);
  const outputs = [...carry.map((c) => c.result), ...stackedOutputs].map(region);
  const places = carry.map((c) => placesOf(c, region));
  let row = 0;
  const inner: Frame = {
    input: (i) => inputs[i] as Region,
    output: (j) => outputs[j] as Region,
    scalar: () => row,
    base: within(frame.base, step.scratch),
  };
  for (let t = 0; t < length; t++) {
    row = reverse ? length - 1 - t : t;
    places.forEach(({ initial, result, other }, k) => {
      const even = (length - t) % 2 === 0;
      inputs[consts.length + k] = t === 0 ? initial : even ? result : other;
      outputs[k] = even ? other : result;
    });
    yield* runPlan(body, machine, inner);
  }
}

function* runWhile(step: WhileStep, machine: Machine, frame: Frame, region: At): Conducting {
  const { test, body, consts, carry } = step;
  const inputs = [...consts, ...carry.map((c) => c.result)].map(region);
  const verdict = region(step.verdict);
  const outputs = carry.map((c) => region(c.result));
  const places = carry.map((c) => placesOf(c, region));
  const base = within(frame.base, step.scratch);
  const input = (i: number): Region => inputs[i] as Region;
  const scalar = frame.scalar;
  for (let t = 0; ; t++) {
    const written = t % 2 === 0 ? "result" : "other";
    places.forEach((p, k) => {
      inputs[consts.length + k] = t === 0 ? p.initial : t % 2 === 0 ? p.other : p.result;
      outputs[k] = p[written];
    });
    yield* runPlan(test, machine, { input, output: () => verdict, scalar, base });
    if ((yield verdict) === 0) break;
    yield* runPlan(body, machine, { input, output: (j) => outputs[j] as Region, scalar, base });
  }
  // The result may lie where it began, or in the other place.
  places.forEach(({ result }, k) => {
    const last = inputs[consts.length + k] as Region;
    if (last.memory !== result.memory || last.offset !== result.offset) machine.push(copyOf(last, result));
  });
}

const copyOf = (from: Region, to: Region): Command => ({ kind: "copy", from, to });

function placesOf({ initial, result, other }: Carried, region: At) {
  const at = region(result);
  return { initial: region(initial), result: at, other: other ? region(other) : at };
}
