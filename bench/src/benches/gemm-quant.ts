/** Products with weights of few bits: x [batch, in] f32 by [out, in] in ggml's blocks or bf16, at the widths of a LLaMA of 7 billion, for
 *  one token, a few and a prompt. A call multiplies by several copies of the weights, which are more than caches hold. Beside blocks x is
 *  rounded to 8 bits, as llama.cpp does; as it is it has a row of its own (`…/float`). At batch 1 what counts is how fast weights are read,
 *  so there is a figure of that (`…/read`) beside what the memory gives. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { type Activations, jit, key, nn, quantize, quantizedLinear, random, type Tensor } from "sinan";
import { beside, type Figure } from "../figure.ts";
import type { Cases } from "../main.ts";
import { type Pair, summary } from "../mean.ts";
import { median, times } from "../measure.ts";
import { ofCase, type PeerLine, runAll } from "../peers.ts";
import { openCpu } from "../processor.ts";

type Format = "q4_0" | "q8_0" | "bf16";

/** Bits of a weight, scales among them. */
const bits: Readonly<Record<Format, number>> = { q4_0: 4.5, q8_0: 8.5, bf16: 16 };
const widths = [
  [4096, 4096],
  [11008, 4096],
] as const;
const batches = [1, 8, 128] as const;
/** Weights of one call, where a token's time is that of reading them. */
const beyondCaches = 192 * 2 ** 20;
/** Of the magnitudes of a result: ggml rounds x to 8 bits for each 32 values, or to bf16. */
const tolerance = 0.02;

interface Case {
  readonly name: string;
  readonly format: Format;
  readonly out: number;
  readonly from: number;
  readonly batch: number;
  readonly copies: number;
}

function casesOf(isQuick: boolean): Case[] {
  const all = Object.keys(bits) as Format[];
  return (isQuick ? widths.slice(0, 1) : widths).flatMap(([out, from]) =>
    all.flatMap((format) =>
      (isQuick ? [1, 8] : batches).map((batch) => {
        const bytes = (out * from * bits[format]) / 8;
        const copies = batch > 8 ? 1 : Math.ceil(beyondCaches / bytes / batch);
        return { name: `${format}-${out}x${from}-b${batch}`, format, out, from, batch, copies };
      }),
    ),
  );
}

const weights = ({ format, out, from }: Case, copy: number): Tensor => {
  const w = random.normal(key(copy), [out, from]).mul(0.02);
  return format === "bf16" ? w.cast("bf16") : quantize(w, format);
};

const input = ({ from, batch }: Case): Tensor => random.normal(key(1000 + batch), [batch, from]);

/** The bytes of a tensor of bf16, of which JavaScript has no array, or of blocks. */
async function bytesOf(w: Tensor): Promise<Uint8Array> {
  const data = await w.data();
  if (w.dtype !== "bf16") return data as Uint8Array;
  const words = new Uint32Array(Float32Array.from(data as Float32Array).buffer);
  return new Uint8Array(Uint16Array.from(words, (word) => word >>> 16).buffer);
}

/** llama.cpp's figures on our own weights and inputs, which it reads from files. */
async function peersOf(all: readonly Case[], threads: number, seconds: number): Promise<PeerLine[]> {
  const folder = mkdtempSync(path.join(tmpdir(), "sinan-quant-"));
  const write = (name: string, bytes: Uint8Array): void => writeFileSync(path.join(folder, `${name}.bin`), bytes);
  try {
    for (const one of all) {
      write(`${one.format}-${one.out}x${one.from}`, await bytesOf(weights(one, 0)));
      write(`x-${one.from}-b${one.batch}`, new Uint8Array(((await input(one).data()) as Float32Array).slice().buffer));
    }
    const list = (of: (one: Case) => string | number): string => all.map(of).join(",");
    const settings = ["--threads", String(threads), "--seconds", String(seconds)];
    const own = ["--folder", folder, "--cases", list(({ name }) => name), "--copies", list(({ copies }) => copies)];
    return await runAll(
      [
        { file: "ggml-matmul.py", args: [...own, ...settings], needs: "@node-llama-cpp" },
        { file: "stream-read.mjs", args: settings, needs: "." },
      ],
      threads,
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export const cases: Cases = async function* ({ threads, peers, seconds, quick }): AsyncGenerator<Figure> {
  const device = await openCpu(threads);
  const all = casesOf(quick);
  const measured = peers ? await peersOf(all, threads, seconds) : [];
  const pairs: Pair[] = [];
  for (const one of all) {
    const { name, format, out, from, batch, copies } = one;
    const x = input(one);
    const ws = Array.from({ length: copies }, (_, copy) => weights(one, copy));
    const figure = { bench: "gemm-quant", device, threads } as const;
    const theirs = ofCase(measured, name);
    const timed = async (activations: Activations): Promise<number> => {
      const call = jit(
        (y: Tensor, weightsOf: readonly Tensor[]) =>
          weightsOf.map((w) =>
            format === "bf16" ? nn.functional.linear(y, w.cast("f32")) : quantizedLinear(y, w, null, { activations }),
          ),
        { name: `${name}-${activations}` },
      );
      const [first] = call(x, ws);
      await compare(name, first as Tensor, measured);
      const run = async (): Promise<void> => {
        const results = call(x, ws);
        await (results.at(-1) as Tensor).at(0, 0).item();
        for (const r of results) r.dispose();
      };
      return median(await times(run, { seconds, atLeast: 3 })) / copies;
    };
    const speed = (taken: number): number => (2 * out * from * batch) / taken / 1e9;
    const taken = await timed(format === "bf16" ? "float" : "int8");
    pairs.push({ name, ours: speed(taken), theirs });
    yield* beside({ ...figure, case: name, value: speed(taken), unit: "GFLOP/s" }, theirs);
    if (batch === 1) {
      const read = (out * from * bits[format]) / 8 / taken / 1e9;
      yield* beside({ ...figure, case: `${name}/read`, value: read, unit: "GB/s" }, ofCase(measured, "read"));
    }
    if (format !== "bf16") {
      const value = speed(await timed("float"));
      yield* beside({ ...figure, case: `${name}/float`, value, unit: "GFLOP/s" }, theirs);
    }
    for (const w of [x, ...ws]) w.dispose();
  }
  yield* summary({ bench: "gemm-quant", device, threads, unit: "GFLOP/s" }, pairs, {
    mean: "geometric-mean",
    least: "least",
    best: "best",
  });
};

/** Says where the peer computes something else. */
async function compare(name: string, y: Tensor, lines: readonly PeerLine[]): Promise<void> {
  let total = 0;
  for (const v of (await y.data()) as Float32Array) total += Math.abs(v);
  for (const { case: of, name: peer, check } of lines)
    if (of === name && check !== undefined && !(Math.abs(check - total) <= tolerance * total))
      console.error(`gemm-quant: ${name}: the magnitudes of our results add up to ${total}, ${peer}'s to ${check}`);
}
