/** The commands of a program's calls. A call that finds most of its values where they lay at the last one takes most of its commands from
 *  there, and the pool's list with them: what a call costs is then what has changed. Commands that were made once do not change, lists of
 *  them are made anew. */

import type { Command, Commander, Executable, Launch, Memory, Places, Region } from "sinan/south";
import { NativeExecutable } from "./executable.ts";
import type { Written } from "./pool/list.ts";

type Slot = Launch["slots"][number];

/** What the last call of a program was. */
export interface Last {
  commands: readonly Command[];
  /** The list that the pool has of them, and the commands that it was written from. */
  list: Written | undefined;
  listed: readonly Command[];
  /** Where each command begins among the list's steps and numbers, and where they end. */
  at: readonly (readonly [step: number, number: number])[];
  work: number;
}

interface Placed {
  readonly inputs: (Region | number)[];
  readonly outputs: Region[];
  readonly blocks: Memory[];
  sure: readonly unknown[] | undefined;
}

/** Steps that read or write each value. */
interface Users {
  readonly input: number[][];
  readonly output: number[][];
  readonly block: number[][];
}

/** Calls with fewer launches are made anew. */
const leastLaunches = 8;

export class Commanders {
  readonly #lasts = new WeakMap<readonly Command[], Last>();

  /** What is known of commands that were made here. */
  of(commands: readonly Command[]): Last | undefined {
    return this.#lasts.get(commands);
  }

  commander(launches: readonly Launch[], executables: readonly Executable[]): Commander | undefined {
    // A step without a kernel is a copy, or nothing: the caller's again.
    const isOwn = ({ kernel }: Launch): boolean => executables[kernel] instanceof NativeExecutable;
    if (launches.length < leastLaunches || !launches.every(isOwn)) return undefined;
    const users = usersOf(launches);
    let last: Last | undefined;
    let placed: Placed | undefined;
    return (places) => {
      const stale = placed && last ? move(placed, places, users) : undefined;
      if (stale?.size === 0 && last) return last.commands;
      placed ??= placedAs(places);
      const { inputs, outputs, blocks } = placed;
      const region = (slot: Slot): Region => {
        const { bytes } = slot;
        if (slot.kind === "temporary") return { memory: blocks[slot.block] as Memory, offset: slot.offset, bytes };
        const place = (slot.kind === "input" ? inputs[slot.index] : outputs[slot.index]) as Region;
        return place.bytes === bytes ? place : { memory: place.memory, offset: place.offset, bytes };
      };
      const made = (launch: Launch): Command | undefined => {
        const regions = launch.slots.map(region);
        if (launch.over && !isSame(regions[0] as Region, regions.at(-1) as Region)) return undefined;
        const scalars = launch.scalars.map((i) => inputs[i] as number);
        const executable = executables[launch.kernel] as Executable;
        return { kind: "launch", executable, regions, scalars };
      };
      const commands: Command[] = last ? [...last.commands] : [];
      for (const i of stale ?? launches.keys()) {
        const command = launches[i] && made(launches[i]);
        if (!command) {
          // It has to be copied first: the caller does that.
          last = placed = undefined;
          return undefined;
        }
        commands[i] = command;
      }
      last ??= { commands, list: undefined, listed: [], at: [], work: 0 };
      last.commands = commands;
      this.#lasts.set(commands, last);
      return commands;
    };
  }
}

const isSame = (a: Region, b: Region): boolean => a === b || (a.memory === b.memory && a.offset === b.offset);

function usersOf(launches: readonly Launch[]): Users {
  const users: Users = { input: [], output: [], block: [] };
  launches.forEach(({ slots, scalars }, i) => {
    for (const slot of slots) {
      const index = slot.kind === "temporary" ? slot.block : slot.index;
      (users[slot.kind === "temporary" ? "block" : slot.kind][index] ??= []).push(i);
    }
    for (const index of scalars) (users.input[index] ??= []).push(i);
  });
  return users;
}

const placedAs = ({ input, inputs, outputs, blocks, sure }: Places): Placed => ({
  inputs: Array.from({ length: inputs }, (_, i) => input(i)),
  outputs: [...outputs],
  blocks: [...blocks],
  sure: sure?.values,
});

/** Takes over where values lie now; returns the steps that have to be made anew. */
function move(placed: Placed, { input, inputs, outputs, blocks, sure }: Places, users: Users): Set<number> {
  const stale = new Set<number>();
  const use = (steps: readonly number[] | undefined): void => {
    for (const i of steps ?? []) stale.add(i);
  };
  const isKnown = sure !== undefined && placed.sure === sure.values;
  for (let i = 0; i < inputs; i++) {
    if (isKnown && i === sure.from) i += sure.values.length;
    if (i >= inputs) break;
    const [was, now] = [placed.inputs[i], input(i)];
    if (was === now) continue;
    placed.inputs[i] = now;
    if (typeof was !== "object" || typeof now !== "object" || !isSame(was, now)) use(users.input[i]);
  }
  placed.sure = sure?.values;
  outputs.forEach((now, j) => {
    const was = placed.outputs[j];
    placed.outputs[j] = now;
    if (!was || !isSame(was, now)) use(users.output[j]);
  });
  blocks.forEach((now, k) => {
    if (placed.blocks[k] === now) return;
    placed.blocks[k] = now;
    use(users.block[k]);
  });
  return stale;
}
