/** A run taken to its end, for tests of what it told and what came of it. */
import type { TrainEvent } from "./events.ts";
import type { Outcome } from "./options.ts";

export interface Ended<M> {
  readonly events: readonly TrainEvent[];
  /** Of its steps. */
  readonly losses: readonly number[];
  readonly outcome: Outcome<M>;
}

/** @example const { losses } = await ended(train(task, options)); */
export async function ended<M>(run: AsyncGenerator<TrainEvent, Outcome<M>>): Promise<Ended<M>> {
  const events: TrainEvent[] = [];
  for (;;) {
    const { done, value } = await run.next();
    if (done) return { events, losses: events.flatMap((e) => (e.event === "step" ? [e.loss] : [])), outcome: value };
    events.push(value);
  }
}
