/** The fences of a device: how far each timeline has come, and which of its steps failed. A fence stands for the first signal
 *  that reaches its value; it fails if that signal's work failed. */

import type { Fence } from "sinan/south";

interface Timeline {
  value: bigint;
  /** Signals whose work failed: they stand for the values above `after` up to `value`. */
  readonly failures: { readonly after: bigint; readonly value: bigint; readonly error: unknown }[];
  waiting: { readonly fence: Fence; readonly wake: () => void }[];
}

export class Timelines {
  readonly #lines = new Map<number, Timeline>();

  #line(timeline: number): Timeline {
    let line = this.#lines.get(timeline);
    if (!line) {
      line = { value: 0n, failures: [], waiting: [] };
      this.#lines.set(timeline, line);
    }
    return line;
  }

  value(timeline: number): bigint {
    return this.#lines.get(timeline)?.value ?? 0n;
  }

  passed({ timeline, value }: Fence): boolean {
    return this.value(timeline) >= value;
  }

  /** The failure behind a fence that has passed. */
  failure({ timeline, value }: Fence): { readonly error: unknown } | undefined {
    return this.#lines.get(timeline)?.failures.find((f) => value > f.after && value <= f.value);
  }

  signal({ timeline, value }: Fence, failure: { readonly error: unknown } | undefined): void {
    const line = this.#line(timeline);
    if (failure && value > line.value) line.failures.push({ after: line.value, value, error: failure.error });
    if (value > line.value) line.value = value;
    if (line.waiting.length === 0) return;
    const woken = line.waiting.filter((w) => this.passed(w.fence));
    line.waiting = line.waiting.filter((w) => !this.passed(w.fence));
    for (const { wake } of woken) wake();
  }

  /** Calls back when the fence passes. Returns what takes the call back. */
  onPass(fence: Fence, wake: () => void): () => void {
    const line = this.#line(fence.timeline);
    const entry = { fence, wake };
    line.waiting.push(entry);
    return () => {
      line.waiting = line.waiting.filter((w) => w !== entry);
    };
  }
}
