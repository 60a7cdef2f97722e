// What every peer program needs: its arguments, timing, reproducible numbers, the version of what it measures, its output line.
import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import path from "node:path";

/** "--name value" pairs over defaults; a number where the default is one, true for a flag whose default is false. */
export function parseArgs(defaults) {
  const out = { ...defaults };
  const argv = process.argv.slice(2);
  for (let i = 0; i < argv.length; i++) {
    const name = argv[i].replace(/^--/, "");
    if (!argv[i].startsWith("--") || !(name in defaults)) {
      const known = Object.keys(defaults).map((x) => `--${x}`);
      throw new Error(`unknown argument ${argv[i]}; known: ${known.join(" ")}`);
    }
    if (defaults[name] === false) {
      out[name] = true;
      continue;
    }
    const value = argv[++i];
    if (value === undefined) throw new Error(`--${name} needs a value`);
    out[name] = typeof defaults[name] === "number" ? Number(value) : value;
    if (Number.isNaN(out[name])) throw new Error(`--${name} needs a number, got ${value}`);
  }
  return out;
}

/** The version of an installed package, read from its package.json: exports maps may hide that file from import. */
export const packageVersion = (name) =>
  JSON.parse(readFileSync(path.join(import.meta.dirname, "node_modules", name, "package.json"), "utf8")).version;

/** One figure as a JSON line, the form that bench/src/peers.ts reads: `value` is the median, `best` the best of the runs. */
export const report = (line) =>
  console.log(JSON.stringify({ ...line, node: process.version, cpu: cpus()[0]?.model.trim() }));

export const cores = () => cpus().length;
export const round = (x, digits = 4) => Number(x.toPrecision(digits));
export const peakRssMb = () => Math.round(process.resourceUsage().maxRSS / 1024); // Node reports kibibytes

export function median(xs) {
  const s = [...xs].sort((a, b) => a - b);
  return s.length % 2 ? s[(s.length - 1) / 2] : (s[s.length / 2 - 1] + s[s.length / 2]) / 2;
}

/** mulberry32: the same numbers in every peer for the same seed. */
export function rng(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export function normal(seed, count, std = 1) {
  const r = rng(seed);
  const out = new Float32Array(count);
  for (let i = 0; i < count; i += 2) {
    const magnitude = std * Math.sqrt(-2 * Math.log(1 - r()));
    const angle = 2 * Math.PI * r();
    out[i] = magnitude * Math.cos(angle);
    if (i + 1 < count) out[i + 1] = magnitude * Math.sin(angle);
  }
  return out;
}

export function uniform(seed, count, bound = 1) {
  const r = rng(seed);
  return Float32Array.from({ length: count }, () => (2 * r() - 1) * bound);
}
