/** Taking typed values out of JSON that came from elsewhere: each reader names the place, what it expected and what came,
 *  in a FormatError. */

import { FormatError } from "sinan";

export type JsonObject = Readonly<Record<string, unknown>>;

/** The error for a value that is not what the file format wants at this place. */
export function unexpected(where: string, expected: string, value: unknown, hint?: string): FormatError {
  return new FormatError(`${where}: expected ${expected}, got ${shown(value)}`, { hint });
}

/** A value in at most 60 characters. */
export function shown(value: unknown): string {
  if (value === undefined) return "nothing";
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === "object" && value !== null) return `an object with ${Object.keys(value).length} keys`;
  const text = typeof value === "string" ? JSON.stringify(value.slice(0, 60)) : String(value);
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}

export function objectAt(value: unknown, where: string): JsonObject {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw unexpected(where, "an object", value);
  return value as JsonObject;
}

export function arrayAt(value: unknown, where: string): readonly unknown[] {
  if (!Array.isArray(value)) throw unexpected(where, "an array", value);
  return value;
}

export function stringAt(value: unknown, where: string): string {
  if (typeof value !== "string") throw unexpected(where, "a string", value);
  return value;
}

/** A boolean that may be absent. */
export function flagAt(value: unknown, where: string, absent: boolean): boolean {
  if (value === undefined) return absent;
  if (typeof value !== "boolean") throw unexpected(where, "true or false", value);
  return value;
}

/** An id: an integer from 0 to 2^24 - 1. */
export function idAt(value: unknown, where: string): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value >= 2 ** 24) {
    throw unexpected(where, "an integer from 0 to 16777215", value);
  }
  return value;
}
