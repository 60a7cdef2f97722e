/** A compiled function on a device: kernels in order over inputs, outputs and blocks of temporaries whose layout the
 *  memory plan fixed. Running it is synchronous; results are buffers whose contents come later. */
import { byteSize } from "../ir/dtype.ts";
import { known, sizeOf } from "../ir/dim.ts";
import type { Layout } from "../compiler/layout.ts";
import type { Fn } from "../ir/fn.ts";
import type { Site } from "../ir/site.ts";
import type { TensorType } from "../ir/type.ts";
import { Buffer } from "./buffer.ts";
import type { Artifact, Command, Commander, Executable, Memory, Region } from "./driver.ts";
import type { HardwareModel } from "./hardware.ts";
import type { Sure } from "./kept.ts";
import type { Stream } from "./stream.ts";
import { watch } from "./watch.ts";

/** Where a kernel finds a value: an argument or result of the program, or a place in a block. */
export type Slot =
  | { readonly kind: "input" | "output"; readonly index: number; readonly bytes: number }
  | (Place & { readonly kind: "temporary"; readonly bytes: number });

/** A place in the blocks of temporaries of a plan. */
export interface Place {
  readonly block: number;
  readonly offset: number;
}

/** A kernel. */
export interface Launch {
  /** Index into `artifacts`; −1 where there is no kernel. */
  readonly kernel: number;
  readonly slots: readonly Slot[];
  /** Inputs in host space, passed by value. */
  readonly scalars: readonly number[];
  /** Whether the first slot has to be in the place of the last one: it is copied there first, where it is not. */
  readonly over?: boolean | undefined;
}

/** Appends the commands of a launch. */
export function addCommands(
  commands: { push(command: Command): void },
  { kernel, slots, scalars, over }: Launch,
  executables: readonly Executable[],
  region: (slot: Slot) => Region,
  scalar: (index: number) => number,
): void {
  const regions = slots.map(region);
  if (over) {
    const [from, to] = [regions[0], regions.at(-1)] as [Region, Region];
    if (from.memory !== to.memory || from.offset !== to.offset) commands.push({ kind: "copy", from, to });
  }
  const executable = executables[kernel];
  if (executable) commands.push({ kind: "launch", executable, regions, scalars: scalars.map(scalar) });
}

/** A step that runs plans of its own: a loop, a choice. */
export interface Controlled {
  /** For people: `scan 12 x`, `while`. */
  readonly name: string;
  readonly inner: readonly Plan[];
  /** How often the inner plans run; absent where the device decides. */
  readonly times?: number;
  /** Runs the whole program that holds such a step. */
  readonly conduct: Conduct;
}

export type Step = Launch | Controlled;

/** Makes the commands of a plan with controlled steps and submits them. Where a step needs a value to go on, the rest comes later. */
export type Conduct = (running: Running) => Promise<void> | undefined;

export interface Running {
  readonly plan: Plan;
  readonly executables: readonly Executable[];
  readonly input: (index: number) => Region;
  readonly output: (index: number) => Region;
  readonly scalar: (index: number) => number;
  readonly blocks: readonly Memory[];
  submit(commands: readonly Command[]): void;
  /** The first byte of a region, once all that was submitted is done. */
  read(region: Region): number | Promise<number>;
}

/** What the compiler makes of a function: everything but the device. */
export interface Plan {
  readonly name: string;
  readonly artifacts: readonly Artifact[];
  readonly steps: readonly Step[];
  /** Bytes of each block of temporaries. */
  readonly blocks: readonly number[];
  /** For each output the input whose memory it takes over when that input is donated, or −1. */
  readonly reuse: readonly number[];
  /** What lies where and when: see `compiler/footprint.ts`. */
  readonly layout: Layout;
}

const loaded = new WeakMap<Stream, Map<string, Promise<Executable>>>();

/** Loads an artifact once for a device, however many programs share it. */
function load(stream: Stream, artifact: Artifact): Promise<Executable> {
  const cache = loaded.get(stream) ?? new Map<string, Promise<Executable>>();
  loaded.set(stream, cache);
  const { codegen, code } = artifact;
  const key = `${codegen} ${typeof code === "string" ? code : latin1(code)}`;
  const known = cache.get(key);
  if (known) return known;
  const executable = stream.opened().then((device) => device.load(artifact));
  cache.set(key, executable);
  return executable;
}

function latin1(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return text;
}

/** Results above this many bytes remember the user's line, for messages about memory: those of one call in 8, as a stack takes some 10 µs. */
const largeBytes = 2 ** 20;

export interface Loaded {
  /** Whether a result that takes over no argument's memory is large. */
  readonly isLarge: boolean;
  readonly plan: Plan;
  readonly executables: readonly Executable[];
  readonly conduct: Conduct | undefined;
  /** The device's way to make the commands of a call. */
  readonly commander: Commander | undefined;
  /** Lists of outputs that share a block of memory. */
  readonly together: readonly Shared[];
}

interface Shared {
  readonly outputs: readonly number[];
  /** Bytes from the beginning of one to that of the next. */
  readonly step: number;
}

/** Results of one call share a block where they are of one size, this small, and together no larger: whoever keeps one of them
 *  keeps all. */
const small = { bytes: 4096, together: 32768 } as const;

/** What a program is for one tier of its device. */
interface Compiled {
  /** Null before the device is open. */
  hardware: HardwareModel | null;
  loaded: Loaded | null;
  loading: Promise<void>;
}

export class Program {
  readonly fn: Fn;
  readonly #stream: Stream;
  readonly #types: readonly TensorType[];
  readonly #bytes: readonly number[];
  readonly #compile: (fn: Fn, hardware: HardwareModel) => Plan;
  /** For what the device is now. */
  #compiled: Compiled;
  #runs = 0;

  /** Compiled at once where the device is open, otherwise when it is; `compile` may throw. */
  constructor(fn: Fn, stream: Stream, compile: (fn: Fn, hardware: HardwareModel) => Plan) {
    this.fn = fn;
    this.#stream = stream;
    this.#compile = compile;
    this.#types = fn.results.map((r) => r.type as TensorType);
    this.#bytes = this.#types.map(typeBytes);
    this.#compiled = this.#compileFor(stream.hardware);
  }

  #compileFor(hardware: HardwareModel | null): Compiled {
    const compiled: Compiled = { hardware, loaded: null, loading: Promise.resolve() };
    compiled.loading = hardware
      ? this.#load(compiled, hardware)
      : this.#stream.opened().then((device) => this.#load(compiled, device.hardware));
    // Whoever runs the program sees the rejection in its outputs.
    compiled.loading.catch(() => {});
    return compiled;
  }

  #load(compiled: Compiled, hardware: HardwareModel): Promise<void> {
    compiled.hardware = hardware;
    const plan = this.#compile(this.fn, hardware);
    return Promise.all(plan.artifacts.map((a) => load(this.#stream, a))).then(
      (executables) => {
        const conduct = conductOf(plan);
        compiled.loaded = {
          plan,
          executables,
          conduct,
          commander: conduct
            ? undefined
            : this.#stream.device.commander?.(plan.steps as readonly Launch[], executables),
          together: sharing(plan, this.#bytes, hardware.limits.alignment),
          isLarge: plan.reuse.some((from, j) => from < 0 && (this.#bytes[j] as number) >= largeBytes),
        };
        watch.by?.compiled?.(this);
      },
      (cause: unknown) => {
        // A device that cannot build for a tier goes back to another one.
        const now = this.#stream.hardware;
        if (!now || now === hardware) throw cause;
        return this.#load(compiled, now);
      },
    );
  }

  /** Compiles it anew where the device has changed its tier since; `compile` may throw. Runs that wait keep what they waited for. */
  #current(): Compiled {
    const { hardware } = this.#stream;
    if (hardware && this.#compiled.hardware && hardware !== this.#compiled.hardware)
      this.#compiled = this.#compileFor(hardware);
    return this.#compiled;
  }

  /** The plan, once compiled. */
  async plan(): Promise<Plan> {
    return (await this.loaded()).plan;
  }

  /** The plan with its kernels as the device has them. */
  async loaded(): Promise<Loaded> {
    const compiled = this.#current();
    await compiled.loading;
    return compiled.loaded as Loaded;
  }

  /** The same, if it is there already. */
  get ready(): Loaded | null {
    return this.#compiled.loaded;
  }

  get stream(): Stream {
    return this.#stream;
  }

  /** Runs it. Donated inputs (by index) must not be used again: their memory may become an output's.
   *  @param sure  inputs that are known to be there, none of them donated */
  run(
    args: readonly (Buffer | number)[],
    donated: ReadonlySet<number> = none,
    takeSite?: () => Site,
    sure?: Sure,
  ): Buffer[] {
    const stream = this.#stream;
    const compiled = this.#current();
    const site = (compiled.loaded?.isLarge ?? true) && !(this.#runs++ & 7) ? takeSite?.() : undefined;
    const outputs = this.#types.map((type, i) => new Buffer(type, stream, site, this.#bytes[i]));
    const inputs: Buffer[] = [];
    for (let i = 0; i < args.length; i++) {
      if (sure && i === sure.from) i += sure.values.length;
      const a = args[i];
      if (typeof a !== "object") continue;
      a.check();
      inputs.push(a);
    }
    for (const i of donated) {
      const arg = args[i];
      if (arg instanceof Buffer) arg.donate();
    }
    const ready = compiled.loaded && !compiled.loaded.conduct ? null : compiled.loading;
    const launch = () => this.#launch(compiled.loaded as Loaded, args, donated, inputs, outputs, sure);
    stream.schedule(inputs, outputs, ready, launch, sure?.values);
    return outputs;
  }

  #launch(
    { plan, executables, conduct, commander, together }: Loaded,
    args: readonly (Buffer | number)[],
    donated: ReadonlySet<number>,
    inputs: readonly Buffer[],
    outputs: readonly Buffer[],
    sure: Sure | undefined,
  ): Promise<void> | undefined {
    watch.by?.ran?.(this);
    const { pool } = this.#stream;
    // A donated argument gives its place away below; those that are sure keep theirs.
    const isSure = (i: number): boolean => sure !== undefined && i >= sure.from && i < sure.from + sure.values.length;
    const given = args.map((a, i) => (typeof a === "number" || isSure(i) ? null : a.place));
    const input = (i: number): Region | number => {
      const a = args[i] as Buffer | number;
      return given[i] ?? (typeof a === "number" ? a : a.place);
    };
    const blocks: Memory[] = [];
    let isGoing = false;
    const finish = () => {
      // The compute queue runs in order, so the blocks may serve the next program at once.
      for (const block of blocks) pool.give(block);
      for (const i of donated) {
        const arg = args[i];
        if (arg instanceof Buffer && arg.allocated) arg.release();
      }
      for (const b of outputs) b.submitted();
    };
    try {
      for (const { outputs: list, step } of together)
        this.#stream.allocateTogether(
          list.map((j) => outputs[j] as Buffer),
          step,
        );
      outputs.forEach((b, j) => {
        if (b.allocated) return;
        const from = plan.reuse[j] ?? -1;
        const old = from >= 0 && donated.has(from) ? args[from] : undefined;
        if (old instanceof Buffer) old.surrender(b);
        else this.#stream.allocate(b);
      });
      const out = outputs.map((b) => b.place);
      for (const bytes of plan.blocks) blocks.push(pool.take(bytes, () => this.#stream.holders(plan)));
      const region = (slot: Slot): Region => {
        const { bytes } = slot;
        if (slot.kind === "temporary") return { memory: blocks[slot.block] as Memory, offset: slot.offset, bytes };
        const place = (slot.kind === "input" ? input(slot.index) : out[slot.index]) as Region;
        return place.bytes === bytes ? place : { memory: place.memory, offset: place.offset, bytes };
      };
      const scalar = (i: number): number => args[i] as number;
      if (conduct) {
        const submit = (commands: readonly Command[]) =>
          this.#stream.submit(commands, [...inputs, ...outputs], outputs);
        const going = conduct({
          plan,
          executables,
          input: (i) => input(i) as Region,
          output: (j) => out[j] as Region,
          scalar,
          blocks,
          submit,
          // What is asked for may be an argument that is still computed.
          read: (region) => this.#stream.peek(region, [...inputs, ...outputs]),
        });
        isGoing = going !== undefined;
        return going?.finally(finish);
      }
      let commands = commander?.({ input, inputs: args.length, outputs: out, blocks, sure });
      if (!commands) {
        const all: Command[] = [];
        for (const step of plan.steps as readonly Launch[]) addCommands(all, step, executables, region, scalar);
        commands = all;
      }
      this.#stream.submit(commands, inputs, outputs);
      return undefined;
    } finally {
      if (!isGoing) finish();
    }
  }
}

/** Which outputs share a block: those that take over no input's memory. */
function sharing(plan: Plan, bytes: readonly number[], alignment: number): Shared[] {
  const bySize = new Map<number, number[]>();
  bytes.forEach((n, j) => {
    if ((plan.reuse[j] ?? -1) >= 0 || n > small.bytes) return;
    const step = Math.max(1, Math.ceil(n / alignment)) * alignment;
    const list = bySize.get(step);
    if (list) list.push(j);
    else bySize.set(step, [j]);
  });
  return [...bySize].flatMap(([step, list]) => {
    const most = Math.floor(small.together / step);
    const parts = Array.from({ length: Math.ceil(list.length / most) }, (_, i) => list.slice(i * most, (i + 1) * most));
    return parts.filter((part) => part.length > 1).map((outputs) => ({ outputs, step }));
  });
}

/** How its commands come about, where they are not its steps one after another. */
const conductOf = (plan: Plan): Conduct | undefined => {
  const step = plan.steps.find((s): s is Controlled => "conduct" in s);
  return step?.conduct;
};

const none: ReadonlySet<number> = new Set();

export const typeBytes = (type: TensorType): number => byteSize(type.dtype, known(sizeOf(type.dims), "a value"));
