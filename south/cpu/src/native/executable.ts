/** A kernel of the native tier: functions in a shared object, and what they share. */

import type { Executable } from "sinan/south";

/** One function of a kernel, run after those before it. */
export interface NativePart {
  /** Where its code is. */
  readonly address: number;
  /** Iterations that threads may share; 1 where there is no such loop. */
  readonly extent: number;
  /** About how many operations all of them are. */
  readonly work: number;
}

export class NativeExecutable implements Executable {
  readonly name: string;
  readonly parts: readonly NativePart[];
  /** How many regions and scalars it takes. */
  readonly buffers: number;
  readonly scalars: number;
  readonly work: number;

  constructor(name: string, parts: readonly NativePart[], buffers: number, scalars: number) {
    this.name = name;
    this.parts = parts;
    this.buffers = buffers;
    this.scalars = scalars;
    this.work = parts.reduce((sum, part) => sum + part.work, 0);
  }
}
