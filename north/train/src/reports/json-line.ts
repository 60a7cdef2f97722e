/** Events as lines of JSON that programs are told on standard output: the fields that they were promised. */
import type { TrainEvent } from "../events.ts";

/** The line of an event for programs; undefined for events that are not told to them. */
export function jsonLine(event: TrainEvent): string | undefined {
  switch (event.event) {
    case "step": {
      const { step, loss, tokensPerSecond } = event;
      return JSON.stringify({ event: "step", step, loss, tokensPerSecond: Math.round(tokensPerSecond) });
    }
    case "eval":
      return JSON.stringify(event);
    case "checkpoint":
      return undefined;
    case "skip":
    case "warning":
    case "sample":
      return JSON.stringify(event);
    default:
      return event satisfies never;
  }
}
