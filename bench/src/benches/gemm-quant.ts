/** Products with weights of few bits: x [batch, in] f32 by [out, in] in ggml's blocks or bf16, at the widths of a LLaMA of 7 billion, for
 *  one token, a few and a prompt. A call multiplies by several copies of the weights, which are more than caches hold. Weights
 *  are packed once (`frozen`), as llama.cpp does at load, and x is rounded as there, to 8 bits beside blocks and to bf16 beside bf16; weights as they
 *  are (`…/as-it-is`) and x as it is (`…/float`) have rows of their own. At batch 1 what counts is how fast weights are read,
 *  so there is a figure of that (`…/read`) beside what the memory gives a loop that reads as many bytes. The mean and the least are
 *  of q4_0, q8_0 and bf16; q4_k has its own (`…-q4_k`), and half of the time. All are called in turn: what two
 *  threads get of memory doubles where a virtual machine's processors move from one die to two. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { type Frozen, frozen, jit, key, nn, quantize, quantizedLinear, random, type Tensor } from "sinan";
import { beside, type Figure } from "../figure.ts";
import { type CalledPeer, calledPeers } from "../called-peer.ts";
import { inFolder } from "../in-folder.ts";
import { inTurn, type Timed } from "../in-turn.ts";
import { type Pair, summary } from "../mean.ts";
import { openCpu } from "../processor.ts";

type Format = "q4_0" | "q8_0" | "bf16" | "q4_k";

/** Bits of a weight, scales among them. */
const bits: Readonly<Record<Format, number>> = { q4_0: 4.5, q8_0: 8.5, bf16: 16, q4_k: 4.5 };
/** What has summaries of its own. */
const apart: Format = "q4_k";
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

/** llama.cpp on our own weights and inputs, which it reads from files, with its weights as they are and repacked; and the machine's memory. */
async function peersOf(all: readonly Case[], threads: number, folder: string): Promise<CalledPeer[]> {
  const write = (name: string, bytes: Uint8Array): void => writeFileSync(path.join(folder, `${name}.bin`), bytes);
  for (const one of all) {
    write(`${one.format}-${one.out}x${one.from}`, await bytesOf(weights(one, 0)));
    write(`x-${one.from}-b${one.batch}`, new Uint8Array(((await input(one).data()) as Float32Array).slice().buffer));
  }
  const list = (some: readonly Case[], of: (one: Case) => number): string =>
    some.map((one) => `${one.name}:${of(one)}`).join(",");
  const settings = ["--threads", String(threads)];
  const own = ["--folder", folder, "--copies", list(all, ({ copies }) => copies), ...settings];
  const alone = all.filter(({ batch }) => batch === 1);
  const programs = [
    { file: "ggml-matmul.py", args: own, needs: "@node-llama-cpp" },
    { file: "ggml-matmul.py", args: [...own, "--repacked"], needs: "@node-llama-cpp" },
    { file: "stream-read.mjs", args: ["--bytes", list(alone, bytesRead), ...settings], needs: "." },
  ];
  return calledPeers(programs, { threads });
}

/** What a call reads of weights. */
const bytesRead = ({ format, out, from, copies }: Case): number => (copies * out * from * bits[format]) / 8;

export const cases = inFolder(async function* (folder, { threads, peers, seconds, quick }): AsyncGenerator<Figure> {
  const device = await openCpu(threads);
  const all = casesOf(quick);
  const called = peers ? await peersOf(all, threads, folder) : [];
  const pairs: Pair[] = [];
  const pairsApart: Pair[] = [];
  for (const one of all) {
    const { name, format, out, from, batch, copies } = one;
    const x = input(one);
    const ws = Array.from({ length: copies }, (_, copy) => weights(one, copy));
    const figure = { bench: "gemm-quant", device, threads } as const;
    const timed = async (
      rounds: boolean,
      beside: readonly CalledPeer[],
      options: { readonly frozen?: Frozen } = { frozen: frozen(1) },
      share = 1,
    ): Promise<Timed> => {
      const call = jit(
        (y: Tensor, weightsOf: readonly Tensor[]) => weightsOf.map((w) => product(format, y, w, rounds)),
        { ...options, name: `${name}-${rounds ? "rounded" : "float"}` },
      );
      const run = async (): Promise<void> => {
        const results = call(x, ws);
        await (results.at(-1) as Tensor).at(0, 0).item();
        for (const r of results) r.dispose();
      };
      const [first] = call(x, ws);
      await run();
      const of = await inTurn(run, beside, name, { seconds: seconds * share, threads });
      await compare(name, first as Tensor, of.theirs.filter(isProduct));
      return of;
    };
    const speed = (taken: number): number => (2 * out * from * batch * copies) / taken / 1e9;
    const isApart = format === apart;
    const { ours, theirs } = await timed(true, called, undefined, isApart ? apartShare : 1);
    const products = theirs.filter(isProduct).map((peer) => ({ ...peer, value: speed(peer.value) }));
    (isApart ? pairsApart : pairs).push({ name, ours: speed(ours), theirs: products });
    yield* beside({ ...figure, case: name, value: speed(ours), unit: "GFLOP/s" }, products);
    if (batch === 1) {
      const read = (taken: number): number => bytesRead(one) / taken / 1e9;
      const memory = theirs.filter((peer) => !isProduct(peer)).map((peer) => ({ ...peer, value: read(peer.value) }));
      yield* beside({ ...figure, case: `${name}/read`, value: read(ours), unit: "GB/s" }, memory);
    }
    for (const [of, rounds, options] of isApart ? [] : others) {
      const other = await timed(rounds, called.filter(isProduct), options, besideShare);
      const their = other.theirs.map((peer) => ({ ...peer, value: speed(peer.value) }));
      yield* beside({ ...figure, case: `${name}/${of}`, value: speed(other.ours), unit: "GFLOP/s" }, their);
    }
    for (const w of [x, ...ws]) w.dispose();
  }
  for (const peer of called) peer.close();
  for (const [of, end] of [
    [pairs, ""],
    [pairsApart, `-${apart}`],
  ] as const)
    yield* summary({ bench: "gemm-quant", device, threads, unit: "GFLOP/s" }, of, {
      mean: `geometric-mean${end}`,
      least: `least${end}`,
      best: "best",
    });
});

/** Of the seconds asked for, what such a row takes of each of us. */
const besideShare = 1 / 4;
const apartShare = 1 / 2;
/** What has a row of its own beside weights that are packed once and x that is rounded. */
const others = [
  ["as-it-is", true, {}],
  ["float", false, undefined],
] as const;

/** x wᵀ, of x as it is or rounded. */
function product(format: Format, x: Tensor, w: Tensor, rounds: boolean): Tensor {
  if (format !== "bf16") return quantizedLinear(x, w, null, { activations: rounds ? "int8" : "float" });
  return nn.functional.linear(rounds ? x.cast("bf16").cast("f32") : x, w.cast("f32"));
}

const isProduct = ({ name }: { readonly name: string }): boolean => name !== "memory";

/** Says where a peer computes something else. */
async function compare(name: string, y: Tensor, theirs: Timed["theirs"]): Promise<void> {
  let total = 0;
  for (const v of (await y.data()) as Float32Array) total += Math.abs(v);
  for (const { name: peer, check } of theirs)
    if (!(Math.abs(check - total) <= tolerance * total))
      console.error(`gemm-quant: ${name}: the magnitudes of our results add up to ${total}, ${peer}'s to ${check}`);
}
