/** A run as a TensorBoard event file: records framed as TFRecord, each an `Event` in the wire format of protocol buffers, written
 *  by hand. What TensorBoard needs of both is small and does not change.
 *
 *  Sources: https://www.tensorflow.org/tutorials/load_data/tfrecord, "TFRecord files using" the format details;
 *  tensorboard/compat/proto/{event,summary,tensor}.proto; https://protobuf.dev/programming-guides/encoding. */
import { closeSync, mkdirSync, openSync, writeSync } from "node:fs";
import { hostname } from "node:os";
import path from "node:path";
import process from "node:process";
import type { Report, ReportedEvent } from "../events.ts";
import { numberIn, textIn } from "./event.ts";

/** The clock of the events. */
export interface TensorboardOptions {
  /** Milliseconds since 1970, for the wall time of each event. */
  readonly now?: () => number;
}

/** Writes `events.out.tfevents.…` into a directory that `tensorboard --logdir` is given: loss, held-out loss, learning rate, norm,
 *  tokens a second and memory as scalars, the start of the run and samples as text. A resumed run adds a file; TensorBoard
 *  is told to forget what came after the step where it goes on, or back to.
 *
 *  @returns a report whose `event` throws the file system's error if a record cannot be written
 *  @example const report = tensorboardReport("runs/mine"); */
export function tensorboardReport(directory: string, { now = Date.now }: TensorboardOptions = {}): Report {
  let descriptor: number | undefined;
  /** What records are made of when they are written: now and then that is cheaper than at each step. */
  let waiting: (EventFields | ToldAt)[] = [];
  let flushAt = 0;
  const flush = (): void => {
    const bytes = message(...waiting.map((e) => record(encodeEvent("event" in e ? fieldsOf(e) : e))));
    waiting = [];
    if (descriptor !== undefined) for (let at = 0; at < bytes.length; ) at += writeSync(descriptor, bytes, at);
  };
  const write = (event: EventFields): void => void waiting.push(event);
  const open = (first: ReportedEvent): void => {
    mkdirSync(directory, { recursive: true });
    const seconds = String(Math.floor(now() / 1000)).padStart(10, "0");
    const name = `events.out.tfevents.${seconds}.${hostname()}.${process.pid}.${opened++}`;
    descriptor = openSync(path.join(directory, name), "ax");
    write({ wallTime: now() / 1000, fileVersion: "brain.Event:2" });
    // To TensorBoard the first start of a session is the beginning, and each further one takes back what came after its step.
    const from = numberIn(first, "from") ?? 0;
    write({ wallTime: now() / 1000, step: from > 0 ? from + 1 : 0, sessionStart: true });
  };
  return {
    event(event) {
      if (descriptor === undefined) open(event);
      const back = numberIn(event, "to");
      if (event.event === "skip" && back !== undefined)
        write({ wallTime: now() / 1000, step: back + 1, sessionStart: true });
      const time = now();
      if (isKnown(event)) waiting.push({ event, wallTime: time / 1000 });
      if (time < flushAt && isFrequent(event)) return;
      flushAt = time + flushMs;
      flush();
    },
    async close() {
      if (descriptor === undefined) return;
      flush();
      closeSync(descriptor);
      descriptor = undefined;
    },
  };
}

/** Steps and memory are written together, every few seconds; everything else at once. TensorBoard itself looks every five seconds. */
const flushMs = 2000;
const isFrequent = ({ event }: ReportedEvent): boolean => event === "step" || event === "memory";

/** An event whose record is not made yet. */
interface ToldAt {
  readonly event: ReportedEvent;
  readonly wallTime: number;
}

/** Files of this process, so that none is opened twice in one second. */
let opened = 0;

/** The part before the slash is the heading under which TensorBoard puts a tag. */
const tags: ReadonlyMap<string, readonly (readonly [field: string, tag: string])[]> = new Map([
  [
    "step",
    [
      ["loss", "loss/train"],
      ["norm", "optimizer/gradient norm"],
      ["rate", "optimizer/learning rate"],
      ["tokensPerSecond", "speed/tokens per second"],
      ["seconds", "speed/seconds per step"],
      ["peakBytes", "memory/device peak bytes"],
    ],
  ],
  [
    "eval",
    [
      ["loss", "loss/held-out"],
      ["bitsPerByte", "loss/held-out bits per byte"],
    ],
  ],
  ["memory", [["process", "memory/process bytes"]]],
]);

const isKnown = ({ event }: ReportedEvent): boolean => tags.has(event) || event === "start" || event === "sample";

const fieldsOf = ({ event, wallTime }: ToldAt): EventFields => ({
  wallTime,
  step: stepOf(event),
  values: valuesOf(event),
});

const stepOf = (event: ReportedEvent): number => numberIn(event, "step") ?? numberIn(event, "from") ?? 0;

function valuesOf(event: ReportedEvent): Value[] {
  const known = tags.get(event.event);
  if (known !== undefined) {
    const values: Value[] = [];
    for (const [field, tag] of known) {
      const scalar = numberIn(event, field);
      if (scalar !== undefined) values.push({ tag, scalar });
    }
    return values;
  }
  if (event.event === "start") return [{ tag: "run", text: fenced(JSON.stringify(event, null, 2)) }];
  const text = event.event === "sample" ? textIn(event, "text") : undefined;
  return text === undefined ? [] : [{ tag: "sample", text: fenced((textIn(event, "prompt") ?? "") + text) }];
}

/** TensorBoard shows text as Markdown. */
const fenced = (text: string): string => text.replaceAll(/^/gm, "    ");

export type Value = { readonly tag: string; readonly scalar: number } | { readonly tag: string; readonly text: string };

export interface EventFields {
  /** Seconds since 1970. */
  readonly wallTime: number;
  readonly step?: number;
  readonly fileVersion?: string;
  readonly values?: readonly Value[];
  readonly sessionStart?: boolean;
}

/** `tensorboard.Event` */
export function encodeEvent({ wallTime, step = 0, fileVersion, values, sessionStart }: EventFields): Uint8Array {
  return message(
    double(1, wallTime),
    step === 0 ? none : varintField(2, step),
    fileVersion === undefined ? none : bytesField(3, fileVersion),
    values === undefined ? none : bytesField(5, message(...values.map(valueField))),
    sessionStart === true ? bytesField(7, varintField(1, 1)) : none, // SessionLog.START
  );
}

/** Bytes of a scalar of each tag; the value, the last four, differs. */
const scalars = new Map<string, Uint8Array>();

function valueField(value: Value): Uint8Array {
  if (!("scalar" in value)) return bytesField(1, encodeValue(value));
  const known = scalars.get(value.tag);
  const bytes = known?.slice() ?? bytesField(1, encodeValue(value));
  if (known) new DataView(bytes.buffer).setFloat32(bytes.length - 4, value.scalar, true);
  else scalars.set(value.tag, bytes.slice());
  return bytes;
}

/** `tensorboard.Summary.Value`; text is a string tensor of one element for the plugin `text`. */
function encodeValue(value: Value): Uint8Array {
  if ("scalar" in value) return message(bytesField(1, value.tag), float(2, value.scalar));
  const shape = bytesField(2, bytesField(2, varintField(1, 1)));
  const tensor = message(varintField(1, 7), shape, bytesField(8, value.text)); // DT_STRING
  const plugin = bytesField(1, bytesField(1, "text"));
  return message(bytesField(1, value.tag), bytesField(8, tensor), bytesField(9, plugin));
}

const none = new Uint8Array(0);
const utf8 = new TextEncoder();

function message(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Seven bits a byte, the lowest first; whole numbers of at least 0 that are exact as doubles. */
function varint(value: number): Uint8Array {
  if (value < 128) return Uint8Array.of(value);
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Uint8Array.of(...bytes, rest);
}

const varintField = (field: number, value: number): Uint8Array => message(varint(field * 8), varint(value));

function bytesField(field: number, content: string | Uint8Array): Uint8Array {
  const bytes = typeof content === "string" ? utf8.encode(content) : content;
  return message(varint(field * 8 + 2), varint(bytes.length), bytes);
}

function double(field: number, value: number): Uint8Array {
  const bytes = new Uint8Array(9);
  bytes[0] = field * 8 + 1;
  new DataView(bytes.buffer).setFloat64(1, value, true);
  return bytes;
}

function float(field: number, value: number): Uint8Array {
  const bytes = new Uint8Array(5);
  bytes[0] = field * 8 + 5;
  new DataView(bytes.buffer).setFloat32(1, value, true);
  return bytes;
}

/** Length, its checksum, content, its checksum. */
export function record(content: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(16 + content.length);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(content.length), true);
  view.setUint32(8, maskedCrc(bytes.subarray(0, 8)), true);
  bytes.set(content, 12);
  view.setUint32(12 + content.length, maskedCrc(content), true);
  return bytes;
}

/** CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), masked so that a checksum of data that holds checksums is sound. */
function maskedCrc(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ (crcTable[(crc ^ byte) & 255] ?? 0);
  crc = (crc ^ 0xffffffff) >>> 0;
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
  let value = n;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value;
});
