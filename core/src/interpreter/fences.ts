/** The state of timelines on the host's side of a device: which fences have passed, which failed, and who waits for them. */
import { DeviceError } from "../errors.ts";
import type { Fence } from "../runtime/driver.ts";

interface Timeline {
  reached: bigint;
  /** Kept once one has failed: a fence fails if the first point signalled at or after it did. */
  readonly signals: { readonly value: bigint; readonly failure: Error | undefined }[];
  readonly waiting: { readonly value: bigint; readonly resume: (failure: Error | undefined) => void }[];
}

/** Fences of a device whose work runs in order. */
export class Fences {
  readonly #timelines = new Map<number, Timeline>();
  #lost: Error | undefined;

  #of(timeline: number): Timeline {
    const known = this.#timelines.get(timeline) ?? { reached: 0n, signals: [], waiting: [] };
    this.#timelines.set(timeline, known);
    return known;
  }

  /** Makes the fence pass, or fail. */
  signal({ timeline, value }: Fence, failure?: Error): void {
    const t = this.#of(timeline);
    if (failure && t.signals.length === 0) t.signals.push({ value: t.reached, failure: undefined });
    if (t.signals.length > 0)
      t.signals.splice(t.signals.findLastIndex((s) => s.value < value) + 1, 0, { value, failure });
    if (value > t.reached) t.reached = value;
    for (const w of t.waiting.filter((w) => w.value <= value)) {
      t.waiting.splice(t.waiting.indexOf(w), 1);
      w.resume(failure);
    }
  }

  /** Fails everything that waits, and everything that will. */
  lose(error: Error): void {
    this.#lost = error;
    for (const t of this.#timelines.values()) for (const w of t.waiting.splice(0)) w.resume(error);
  }

  /** Calls `resume` once the fence has passed or failed: at once if it has. */
  after({ timeline, value }: Fence, resume: (failure: Error | undefined) => void): void {
    const t = this.#of(timeline);
    if (value <= t.reached) resume(this.#failure(t, value));
    else if (this.#lost) resume(this.#lost);
    else t.waiting.push({ value, resume });
  }

  #failure(t: Timeline, value: bigint): Error | undefined {
    return t.signals.find((s) => s.value >= value)?.failure;
  }

  /** What `Device.poll` gives. */
  poll({ timeline, value }: Fence): bigint {
    const t = this.#of(timeline);
    const failure = value <= t.reached ? this.#failure(t, value) : this.#lost;
    if (failure) throw failure;
    return t.reached;
  }

  /** What `Device.wait` gives. */
  wait(fence: Fence, timeoutMs?: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const late = () =>
        reject(new DeviceError(`fence ${fence.timeline}:${fence.value} has not passed after ${timeoutMs} ms`));
      const timer = timeoutMs === undefined ? undefined : setTimeout(late, timeoutMs);
      this.after(fence, (failure) => {
        clearTimeout(timer);
        if (failure) reject(failure);
        else resolve();
      });
    });
  }
}
