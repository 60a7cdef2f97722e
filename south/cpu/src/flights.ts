/** What the workers of a device have under way: submissions become steps of the task queue, and when those are done, fences pass.
 *  Nothing here waits. */

import { type Command, DeviceError, type Executable, type Fence, KernelError, type Span } from "sinan/south";
import { type Arenas, type CpuMemory, give } from "./arenas.ts";
import { chunksOf } from "./chunks.ts";
import { type Crew, startCrew } from "./crew.ts";
import { partsOf } from "./first-run.ts";
import { CpuExecutable, type Kernels, messageOf, noKernel } from "./kernels.ts";
import {
  asError,
  copied,
  failureOf,
  type Ground,
  operationsPerByte,
  type Passage,
  type Submission,
  type Workers,
  type WorkerOptions,
  type WorkersOf,
} from "./submission.ts";
import { type Task, TaskQueue } from "./tasks.ts";
import { kind, layout } from "./worker.ts";

/** A submission that the workers have, or a part of it where there is no room for all. */
interface Flight extends Passage {
  readonly submission: Submission;
  /** Among those under way. */
  readonly number: number;
  /** The next command to give them, and the next part of it. */
  command: number;
  part: number;
  /** The last step, once all are given. */
  last: number | undefined;
  /** Kernels by their ids, for messages. */
  readonly names: Map<number, string>;
}

/** Grains of work below which a submission runs on the calling thread: workers take some tenths of a millisecond to wake up
 *  and to tell that they are done. */
const leastGrains = 32;

/** About how many operations a command is. */
function workOf(command: Command): number {
  if (command.kind === "launch")
    return command.executable instanceof CpuExecutable ? partsOf(command.executable.kernel).work : 0;
  return command.kind === "copy" || command.kind === "fill" ? command.to.bytes * operationsPerByte : 0;
}

class Flights implements Workers {
  readonly #arenas: Arenas;
  readonly #kernels: Kernels;
  readonly #grain: number;
  readonly #worker: string | undefined;
  readonly #ground: Ground;
  /** 1 once there turn out to be no workers. */
  #threads: number;
  #crew: Crew | undefined;
  #tasks: TaskQueue | undefined;
  /** In order. */
  readonly #all: Flight[] = [];
  readonly #numbers: number[] = [];
  /** Memory given back while workers may still use it, and until when. */
  #returned: { readonly memory: CpuMemory; readonly until: Flight }[] = [];
  #listener: ((span: Span) => void) | null = null;
  /** Kernels by their ids, while somebody listens. */
  readonly #traced = new Map<number, Executable>();
  #begun = false;
  #workers = 0;
  #closed = false;

  constructor(arenas: Arenas, kernels: Kernels, { threads, grain, worker }: WorkerOptions, ground: Ground) {
    this.#arenas = arenas;
    this.#kernels = kernels;
    this.#threads = threads;
    this.#grain = grain;
    this.#worker = worker;
    this.#ground = ground;
  }

  /** Tells of the times of what workers run. */
  trace(listener: ((span: Span) => void) | null): void {
    this.#tell();
    this.#listener = listener;
    if (!listener) this.#traced.clear();
    if (this.#tasks) this.#tasks.tracing = listener !== null;
  }

  #tell(): void {
    const listener = this.#listener;
    if (!listener || !this.#tasks) return;
    // The parts of a launch are steps one behind the other.
    for (const { kernel, step, part, ...when } of this.#tasks.spans())
      listener({ executable: this.#traced.get(kernel), launch: step - part, ...when });
  }

  get isEmpty(): boolean {
    return this.#all.length === 0;
  }

  /** The flight whose end a fence is. */
  of({ timeline, value }: Fence): Flight | undefined {
    return this.#all.find(({ submission: { signal: s } }) => s.timeline === timeline && s.value === value);
  }

  /** Gives memory back at once, or when what the workers have so far is done. */
  giveBack(memory: CpuMemory): void {
    const until = this.#all.at(-1);
    if (until) this.#returned.push({ memory, until });
    else give(memory);
  }

  /** Gives back at once what workers may still use; `false` if there is nothing. For memory that only work will write, as work
   *  runs in order. */
  reclaim(): boolean {
    const all = this.#returned.splice(0);
    for (const { memory } of all) give(memory);
    return all.length > 0;
  }

  /** Tells the workers of arenas that are new. */
  arenasAdded(): void {
    if (!this.#crew || !this.#tasks) return;
    this.#crew.send(this.#start(this.#tasks));
    this.#tasks.announce(this.#arenas.all.length);
  }

  #start(tasks: TaskQueue) {
    return { memories: this.#arenas.all.map(({ memory }) => memory), control: tasks.control };
  }

  /** Whether there are workers, which begin at the first work for them, and a submission is large enough to be theirs. */
  wants({ commands }: Submission): boolean {
    if (this.#threads === 1) return false;
    let work = 0;
    for (const command of commands) {
      work += workOf(command);
      if (work >= leastGrains * this.#grain) return this.#haveWorkers();
    }
    return false;
  }

  #haveWorkers(): boolean {
    if (this.#crew) return true;
    const tasks = new TaskQueue();
    tasks.announce(this.#arenas.all.length);
    tasks.tracing = this.#listener !== null;
    this.#tasks = tasks;
    this.#numbers.push(...Array.from({ length: layout.submissions }, (_, i) => i));
    this.#workers = this.#threads;
    try {
      this.#crew = startCrew(
        this.#threads,
        this.#start(tasks),
        {
          progress: () => {
            this.#begun = true;
            this.progress();
          },
          lost: (cause, isNew) => this.#lostWorker(cause, isNew),
        },
        this.#worker,
      );
    } catch {
      this.#threads = 1;
    }
    return this.#crew !== undefined;
  }

  /** Passes the fences of what workers have done, and gives them what they now have room for. */
  progress(): void {
    this.settle();
    const last = this.#all.at(-1);
    if (last && last.last === undefined) this.#give(last);
    this.#ground.drain();
  }

  /** Gives the workers a submission; `false` where they cannot take it yet. */
  fly(submission: Submission): boolean {
    const before = this.#all.at(-1);
    if (before && before.last === undefined) return false;
    const number = this.#numbers.pop();
    if (number === undefined) return false;
    this.#tasks?.clear(number);
    const flight: Flight = {
      submission,
      number,
      command: 0,
      part: 0,
      last: undefined,
      names: new Map(),
      failure: undefined,
    };
    if (failureOf(submission)) flight.command = submission.commands.length;
    if (this.#all.push(flight) === 1) this.#crew?.hold(true);
    this.#give(flight);
    return true;
  }

  /** Gives workers what there is room for. */
  #give(flight: Flight): void {
    const tasks = this.#tasks as TaskQueue;
    const { commands } = flight.submission;
    try {
      while (flight.command < commands.length) {
        const command = commands[flight.command] as Command;
        const all = this.#tasksOf(command, flight);
        for (; flight.part < all.length; flight.part++) {
          if (!tasks.put(all[flight.part] as Task)) {
            tasks.publish();
            return;
          }
        }
        flight.command++;
        flight.part = 0;
      }
    } catch (error) {
      flight.failure ??= asError(error);
      flight.command = commands.length;
    }
    // Its end is told with a step of its own, also where there was nothing to do, or nothing more than was published before.
    if (!tasks.hasNew && !tasks.put(nothing(flight))) return;
    flight.last = tasks.publish();
  }

  #tasksOf(command: Command, flight: Flight): Task[] {
    switch (command.kind) {
      case "launch": {
        const { executable, instance, args } = this.#kernels.launch(
          command.executable,
          command.regions,
          command.scalars,
        );
        const { kernel, name } = executable;
        const place = (instance.place ??= this.#place(instance.code));
        const common = {
          args,
          // The memory of the code too, so that a worker finds it.
          memories: [...instance.arenas, place.arena].map(memoryOf),
          submission: flight.number,
          kernel: instance.id,
          code: place.offset,
          codeBytes: place.bytes,
        };
        flight.names.set(instance.id, name);
        if (this.#listener) this.#traced.set(instance.id, executable);
        return partsOf(kernel).all.map(({ extent, work }, part) => ({
          ...common,
          kind: kind.launch,
          extent,
          chunks: this.#chunks(extent, work),
          part,
        }));
      }
      case "copy": {
        const [to, from] = copied(this.#arenas, command.from, command.to);
        const [start, end] = [to.offset + command.to.offset, from.offset + command.from.offset];
        const { bytes } = command.to;
        const overlaps = to.arena === from.arena && Math.abs(start - end) < bytes;
        return [this.#move(kind.copy, bytes, [start, end], [to, from], flight, !overlaps)];
      }
      case "fill": {
        const to = this.#arenas.at(command.to);
        const args = [to.offset + command.to.offset, command.byte];
        return [this.#move(kind.fill, command.to.bytes, args, [to], flight, true)];
      }
      case "engineRun":
      case "collective":
        throw new DeviceError(`cpu: it has no command ${command.kind}`);
      default:
        return command satisfies never;
    }
  }

  /** A copy or fill, done at a stroke unless it can be shared. */
  #move(
    kind: number,
    bytes: number,
    args: readonly number[],
    memories: readonly CpuMemory[],
    flight: Flight,
    isShared: boolean,
  ): Task {
    const chunks = isShared ? this.#chunks(bytes, bytes * operationsPerByte) : 1;
    return { ...nothing(flight), kind, extent: bytes, chunks, args, memories: memories.map((m) => memoryOf(m.arena)) };
  }

  #chunks(extent: number, work: number): number {
    return chunksOf(extent, work, this.#threads, this.#grain);
  }

  /** Puts a kernel's code where workers find it: into memory that they share. */
  #place(code: Uint8Array<ArrayBuffer>): CpuMemory {
    const memory = this.#arenas.take(code.length, "host");
    memory.view().set(code);
    return memory;
  }

  /** Passes the fences of what workers have done. */
  settle(): void {
    const done: Flight[] = [];
    for (let [next] = this.#all; next?.last !== undefined && this.#tasks?.isDone(next.last); [next] = this.#all) {
      this.#all.shift();
      const failed = this.#tasks.failureOf(next.number);
      if (failed) {
        const name = next.names.get(failed.kernel);
        const what = name === undefined ? "a copy or fill failed" : `kernel ${name} trapped`;
        next.failure ??= new KernelError(`cpu: ${what}: ${failed.message}`);
      }
      next.failure = failureOf(next.submission) ?? next.failure;
      // What is done must not hold what was done before it.
      next.submission.after.length = 0;
      this.#numbers.push(next.number);
      done.push(next);
    }
    if (done.length === 0) return;
    this.#tell();
    const kept = this.#returned.filter(({ until }) => !done.includes(until));
    for (const { memory, until } of this.#returned) if (done.includes(until)) give(memory);
    this.#returned = kept;
    if (this.#all.length === 0) this.#crew?.hold(false);
    for (const { submission, failure } of done) this.#ground.signal(submission.signal, failure);
  }

  #lostWorker(cause: unknown, isNew: boolean): void {
    if (this.#closed) return;
    this.#workers--;
    if (!isNew || (this.#workers === 0 && this.#begun))
      return this.#ground.lost(`cpu: a worker was lost: ${messageOf(cause)}`, cause);
    if (this.#workers > 0) return;
    // None ever began, so none has touched what they were given.
    this.#threads = 1;
    this.#crew = undefined;
    this.#tasks = undefined;
    for (const flight of this.#all.splice(0)) {
      this.#ground.runHere(flight.submission);
      flight.failure = this.#ground.failure(flight.submission.signal);
    }
    this.reclaim();
    this.#ground.drain();
  }

  /** Forgets what is under way and ends the workers. */
  async close(): Promise<void> {
    this.settle();
    this.#closed = true;
    const crew = this.#crew;
    this.#crew = undefined;
    if (this.#all.splice(0).length > 0) crew?.hold(false);
    await crew?.close();
  }
}

export const workersOf: WorkersOf = (arenas, kernels, options, ground) => new Flights(arenas, kernels, options, ground);

const memoryOf = ({ index, memory }: CpuMemory["arena"]) => ({ index, bytes: memory.buffer.byteLength });

/** A step that does nothing. */
const nothing = ({ number }: Flight): Task => ({
  kind: kind.fill,
  extent: 0,
  chunks: 1,
  args: [0, 0],
  memories: [{ index: 0, bytes: 0 }],
  submission: number,
  kernel: noKernel,
  part: 0,
  code: 0,
  codeBytes: 0,
});
