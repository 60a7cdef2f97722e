/** The `decoder` of a `tokenizer.json`: how tokens become text. Every step takes tokens one by one and hands on what is
 *  certain, so that one implementation decodes a whole text and one that is still being generated. */

import { charactersToBytes } from "./bytes.ts";
import { arrayAt, objectAt, stringAt, unexpected } from "./json-value.ts";
import type { JsonObject } from "./json-value.ts";
import { replaceMatches } from "./normalizer.ts";
import { characterAt, prependScheme } from "./pre-tokenizer.ts";
import { patternAt } from "./split.ts";

export interface Decoder {
  /** A decoder for one text: `take` is given the text piece by piece. */
  readonly open: (take: (text: string) => void) => Stage;
  /** Whether this is ByteLevel and nothing else: the text is then that of the joined bytes. */
  readonly bytes: boolean;
  /** The part of the file that says so. */
  readonly source: unknown;
}

/** Something that is given tokens in order. */
interface Stage {
  readonly push: (token: string) => void;
  readonly end: () => void;
}

/** A step of a decoder in front of `take`. */
type Step = (take: (token: string) => void) => Stage;

interface Read {
  readonly step: Step;
  /** Makes one token of all: `tail` is how the steps behind it take that token in parts. */
  readonly joins?: boolean;
  /** The same step for the parts of a single token; absent where it needs the token whole. */
  readonly tail?: Step;
}

/** @throws FormatError for another kind of decoder, or settings of a wrong type */
export function readDecoder(value: unknown): Decoder {
  if (value === undefined || value === null) return { open: chain([withBlanks]), bytes: false, source: null };
  const steps = read(value, "tokenizer.json: decoder", 0);
  return {
    open: chain(live(steps)),
    bytes: objectAt(value, "tokenizer.json: decoder")["type"] === "ByteLevel",
    source: value,
  };
}

const chain =
  (steps: readonly Step[]) =>
  (take: (text: string) => void): Stage =>
    steps.reduceRight<Stage>(
      (next, step) => {
        const stage = step(next.push);
        return {
          push: stage.push,
          end: () => {
            stage.end();
            next.end();
          },
        };
      },
      { push: take, end: () => {} },
    );

/** The steps for a text that is still coming: what all tokens were joined into goes on in parts where the steps behind can
 *  take it so, else when it is whole. */
function live(steps: readonly Read[]): Step[] {
  const join = steps.findIndex(({ joins }) => joins);
  if (join < 0) return steps.map(({ step }) => step);
  const behind = steps.slice(join + 1);
  const tails = behind.flatMap(({ tail }) => (tail === undefined ? [] : [tail]));
  const before = steps.slice(0, join + 1).map(({ step }) => step);
  if (tails.length === behind.length) return [...before, ...tails];
  return [...before, whole, ...behind.map(({ step }) => step)];
}

function read(value: unknown, where: string, depth: number): readonly Read[] {
  const step = objectAt(value, where);
  switch (step["type"]) {
    case "ByteLevel":
      return [{ step: fromBytes, joins: true }];
    case "Fuse":
      return [{ step: each((token) => token), joins: true, tail: each((part) => part) }];
    case "ByteFallback":
      return [{ step: fromFallback }];
    case "Replace": {
      const pattern = patternAt(step["pattern"], `${where}.pattern`);
      const content = stringAt(step["content"], `${where}.content`).toWellFormed();
      return [{ step: each((token) => replaceMatches(token, pattern, content)) }];
    }
    case "Strip":
      return [strip(step, where)];
    case "Metaspace": {
      const replacement = characterAt(step["replacement"], `${where}.replacement`);
      return [{ step: metaspace(replacement, prependScheme(step, where) !== "never") }];
    }
    case "BPEDecoder":
      return [{ step: withSuffix(stringAt(step["suffix"] ?? "</w>", `${where}.suffix`)) }];
    case "Sequence": {
      if (depth > 8) throw unexpected(where, "at most 8 Sequences inside of each other", "another one");
      const inner = arrayAt(step["decoders"], `${where}.decoders`);
      if (inner.length > 64) throw unexpected(`${where}.decoders`, "at most 64 steps", inner);
      return inner.flatMap((one, i) => read(one, `${where}.decoders[${i}]`, depth + 1));
    }
    default:
      throw unexpected(
        where,
        "null or one of ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace, BPEDecoder, Sequence",
        step["type"],
        "Other decoders, such as WordPiece and CTC, are not supported.",
      );
  }
}

const each =
  (change: (token: string) => string): Step =>
  (take) => ({ push: (token) => take(change(token)), end: () => {} });

/** Without a decoder, blanks stand between tokens. */
const withBlanks: Step = (take) => {
  let before = "";
  return {
    push(token) {
      take(before + token);
      before = " ";
    },
    end: () => {},
  };
};

const whole: Step = (take) => {
  const parts: string[] = [];
  return { push: (part) => parts.push(part), end: () => take(parts.join("")) };
};

/** A token in the byte alphabet is the bytes that it spells, any other its own UTF-8. */
const fromBytes: Step = (take) => {
  const utf8 = new TextEncoder();
  const text = new TextDecoder("utf-8", { ignoreBOM: true });
  return {
    push: (token) => take(text.decode(charactersToBytes(token) ?? utf8.encode(token), { stream: true })),
    end: () => take(text.decode()),
  };
};

/** `<0xE4>` and the like are bytes: a run of them is the text that it spells, or U+FFFD for each where it spells none. */
const fromFallback: Step = (take) => {
  let bytes: number[] = [];
  const flush = (): void => {
    if (bytes.length === 0) return;
    try {
      take(new TextDecoder("utf-8", { ignoreBOM: true, fatal: true }).decode(Uint8Array.from(bytes)));
    } catch {
      for (let i = 0; i < bytes.length; i++) take("\ufffd");
    }
    bytes = [];
  };
  return {
    push(token) {
      const [, digits] = /^<0x([0-9a-fA-F]{2})>$/.exec(token) ?? [];
      if (digits !== undefined) return void bytes.push(Number.parseInt(digits, 16));
      flush();
      take(token);
    },
    end: flush,
  };
};

/** In the first token the marks go, unless they are never put in front; elsewhere they are blanks. */
const metaspace =
  (mark: string, dropsFirst: boolean): Step =>
  (take) => {
    let first = dropsFirst;
    return {
      push(token) {
        take(token.replaceAll(mark, first ? "" : " "));
        first = false;
      },
      end: () => {},
    };
  };

/** The end of a word is a blank, but for the last token's. */
const withSuffix =
  (suffix: string): Step =>
  (take) => {
    let held: string | undefined;
    const give = (replacement: string): void => {
      if (held !== undefined) take(suffix === "" ? held : held.replaceAll(suffix, replacement));
    };
    return {
      push(token) {
        give(" ");
        held = token;
      },
      end: () => give(""),
    };
  };

function strip(step: JsonObject, where: string): Read {
  const content = characterAt(step["content"], `${where}.content`);
  const count = (name: "start" | "stop"): number => {
    const value = step[name];
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
      throw unexpected(`${where}.${name}`, "an integer of 0 or more", value);
    }
    return value;
  };
  const start = count("start");
  const stop = count("stop");
  const leading = (text: string, most: number): number => {
    let found = 0;
    while (found < most && text.startsWith(content, found * content.length)) found++;
    return found;
  };
  const trailing = (text: string, most: number): number => {
    let found = 0;
    while (found < most && text.endsWith(content, text.length - found * content.length)) found++;
    return found;
  };
  const cut = (token: string): string => {
    const rest = token.slice(leading(token, start) * content.length);
    return rest.slice(0, rest.length - trailing(rest, stop) * content.length);
  };
  const tail: Step = (take) => {
    let left = start;
    let held = 0; // characters at the end that go if nothing comes behind them
    return {
      push(part) {
        const found = leading(part, left);
        const rest = part.slice(found * content.length);
        left = rest === "" ? left - found : 0;
        if (rest === "") return;
        const all = content.repeat(held) + rest;
        held = trailing(all, stop);
        take(all.slice(0, all.length - held * content.length));
      },
      end: () => {},
    };
  };
  return { step: each(cut), tail };
}
