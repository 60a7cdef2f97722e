/** Fields of an event that a report may or may not know. */
import type { ReportedEvent } from "../events.ts";

/** A field of an event if it is a finite number. */
export function numberIn(event: object, name: string): number | undefined {
  const value = (event as Readonly<Record<string, unknown>>)[name];
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}

/** A field of an event if it is text. */
export function textIn(event: object, name: string): string | undefined {
  const value = (event as Readonly<Record<string, unknown>>)[name];
  return typeof value === "string" ? value : undefined;
}

/** The event of a line; undefined if it is none. */
export function eventOf(line: string): ReportedEvent | undefined {
  try {
    const value: unknown = JSON.parse(line);
    const isEvent = typeof value === "object" && value !== null && "event" in value && typeof value.event === "string";
    return isEvent ? (value as ReportedEvent) : undefined;
  } catch {
    return undefined;
  }
}
