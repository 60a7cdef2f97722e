/** Damage to a valid file: of its bytes, and of the JSON that it is or has. */
import type { Random } from "./random.ts";

const numbers = [0, 1, 2, 4, 8, 127, 128, 255, 256, 65535, 65536, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32];

/** Numbers that readers trip over; some are no number of JSON until they are written. */
export const absurd: readonly number[] = [
  ...numbers,
  ...numbers.map((value) => -value),
  0.5,
  1e-300,
  1e16,
  1e21,
  1e308,
  2 ** 53 - 1,
  2 ** 53,
  2 ** 63,
  2 ** 64,
  -(2 ** 53),
];

/** A file with a few bytes changed, dropped, doubled or moved, or cut short. */
export function damagedBytes(bytes: Uint8Array, random: Random): Uint8Array {
  let all = Uint8Array.from(bytes);
  for (let left = 1 + random.below(4); left > 0; left--) {
    const at = random.below(all.length + 1);
    const other = random.below(all.length + 1);
    const [from, to] = at < other ? [at, other] : [other, at];
    switch (random.below(8)) {
      case 0:
        if (at < all.length) all[at] = (all[at] ?? 0) ^ (1 << random.below(8));
        break;
      case 1:
        if (at < all.length) all[at] = random.pick([0, 1, 0x22, 0x5b, 0x7b, 0x7f, 0x80, 0xc0, 0xff]);
        break;
      case 2:
        all = all.slice(0, at);
        break;
      case 3:
        all = joined(all.subarray(0, from), all.subarray(Math.min(to, from + 64)));
        break;
      case 4:
        all = joined(all.subarray(0, to), all.subarray(from, Math.min(to, from + 64)), all.subarray(to));
        break;
      case 5:
        all = joined(
          all.subarray(0, at),
          Uint8Array.from({ length: 1 + random.below(8) }, () => random.below(256)),
          all.subarray(at),
        );
        break;
      case 6: {
        const place = random.once(2) ? 0 : Math.max(0, Math.min(at, all.length - 8));
        const eight = new DataView(new ArrayBuffer(8));
        eight.setBigUint64(0, BigInt.asUintN(64, BigInt(Math.trunc(random.pick(absurd)))), true);
        all.set(new Uint8Array(eight.buffer).subarray(0, Math.max(0, all.length - place)), place);
        break;
      }
      default:
        all = joined(all.subarray(from, to), all.subarray(0, from), all.subarray(to));
    }
  }
  return all;
}

function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** The text of a JSON value with one to three places changed: other types, absurd numbers, keys gone, renamed, given twice,
 *  deep nesting, parts put elsewhere. The value itself stays as it is. */
export function damagedJson(value: unknown, random: Random): string {
  let all = value;
  for (let left = 1 + random.below(3); left > 0; left--) all = changed(all, random, 0, value);
  const text = JSON.stringify(all) ?? "null";
  const raw = text.replaceAll(
    /"\ue000((?:[^"\\\ue000\ue001]|\\.)*)\ue001"/g,
    (_, json: string) => JSON.parse(`"${json}"`) as string,
  );
  return random.once(12) ? new TextDecoder().decode(damagedBytes(new TextEncoder().encode(raw), random)) : raw;
}

/** Text that stands in the JSON as it is, between two characters that no file here has. */
const raw = (json: string): string => `\ue000${json}\ue001`;

/** A copy with one place changed; what is not on the way to it is shared. */
function changed(value: unknown, random: Random, depth: number, whole: unknown): unknown {
  const isTree = typeof value === "object" && value !== null;
  if (!isTree || depth > 12 || random.once(depth === 0 ? 24 : 4)) return replacement(value, random, whole);
  if (Array.isArray(value)) return changedArray(value, random, depth, whole);
  const keys = Object.keys(value);
  const key = keys.length === 0 ? "" : random.pick(keys);
  const entries = Object.entries(value);
  switch (random.below(12)) {
    case 0:
      return Object.fromEntries(entries.filter(([name]) => name !== key));
    case 1:
      return Object.fromEntries(
        entries.map(([name, one]) => [name === key ? `${name}${random.pick(["", "x", " "])}` : name, one]),
      );
    case 2:
      return Object.fromEntries([
        ...entries,
        [random.pick(["__proto__", "constructor", "", "\ud800", "toString", "x"]), null],
      ]);
    case 3: // the same key twice
      return raw(
        `{${[...entries, [key, replacement(entries[0]?.[1], random, whole)] as const]
          .slice(-64)
          .map(([name, one]) => `${JSON.stringify(name)}:${plain(one)}`)
          .join(",")}}`,
      );
    default:
      return Object.fromEntries(
        entries.map(([name, one]) => [name, name === key ? changed(one, random, depth + 1, whole) : one]),
      );
  }
}

function changedArray(value: readonly unknown[], random: Random, depth: number, whole: unknown): unknown {
  const at = random.below(Math.max(1, value.length));
  switch (random.below(8)) {
    case 0:
      return value.filter((_, i) => i !== at);
    case 1:
      return [...value, value[at]];
    case 2:
      return value.toReversed();
    default:
      return value.map((one, i) => (i === at ? changed(one, random, depth + 1, whole) : one));
  }
}

const plain = (value: unknown): string => (JSON.stringify(value) ?? "null").replaceAll(/[\ue000\ue001]/g, "");

function replacement(value: unknown, random: Random, whole: unknown): unknown {
  switch (random.below(11)) {
    case 0:
      return random.pick(absurd);
    case 1:
      return raw(random.pick(["1e999", "-1e999", "-0", "1E400", "00", "NaN", "0.1e1", "99999999999999999999999999"]));
    case 2:
      return random.pick([
        "",
        "0",
        "a",
        "\u0000",
        "\ud800",
        "\u2581",
        "𐌰",
        "x".repeat(5000),
        "../../etc/passwd",
        "__proto__",
      ]);
    case 3:
      return random.pick([null, true, false]);
    case 4:
      return random.pick([[], {}, [[]], [null], { a: 1 }]);
    case 5: {
      const depth = random.pick([3, 20, 70, 5000]);
      const [open, close] = random.pick([
        ["[", "]"],
        ['{"a":', "}"],
      ] as const);
      return raw(`${open.repeat(depth)}1${close.repeat(depth)}`);
    }
    case 6:
      return typeof value === "number" ? value + random.pick([-1, 1, 1000]) : [value];
    case 7:
      return typeof value === "string" ? changedText(value, random) : (JSON.stringify(value) ?? "").slice(0, 1000);
    case 8:
      return {
        type: random.pick(["BPE", "Sequence", "ByteLevel", "Split", "Replace", "Strip", "Metaspace", "Fuse", "F32"]),
        a: value,
      };
    case 9:
      return somewhere(whole, random, 0);
    default:
      return typeof value === "boolean" ? !value : random.below(300);
  }
}

function changedText(text: string, random: Random): string {
  const at = random.below(text.length + 1);
  const inserted = random.pick([
    "(",
    ")",
    "[",
    "]",
    "{2,1}",
    "*",
    "+",
    "|",
    "\\",
    "\\p{",
    "^",
    "&&",
    "(?",
    " ",
    "😀",
    "\ud800",
    text,
  ]);
  return random.once(2) ? text.slice(0, at) + inserted + text.slice(at) : text.slice(0, at) + text.slice(at + 1);
}

/** A part of a value. */
function somewhere(value: unknown, random: Random, depth: number): unknown {
  if (typeof value !== "object" || value === null || depth > 6 || random.once(3)) return value;
  const parts = Object.values(value);
  return parts.length === 0 ? value : somewhere(random.pick(parts), random, depth + 1);
}
