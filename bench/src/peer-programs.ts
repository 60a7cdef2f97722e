/** The programs of bench/peers for benches that several frameworks of JavaScript are set beside: which there are, and how they are
 *  told what to measure. What one bench alone has is said there. */
import { type CalledPeer, calledPeer, calledTorches } from "./called-peer.ts";
import { type PeerLine, type Program, runAll, runTorch } from "./peers.ts";

/** A product of f32 matrices: a [m, k] by b [k, n]. */
export interface Product {
  readonly name: string;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** Of a and b: `n` as they are, `t` where the transpose is stored. */
  readonly layout: "nn" | "nt" | "tn";
}

/** What of the peers is measured: the programs for browsers as well, which are none of the native tier's; and how long. */
export interface PeerOptions {
  readonly inJavaScript: boolean;
  readonly seconds: number;
  readonly isQuick: boolean;
}

/** The products in GFLOP/s, by their names; the programs for browsers do only square ones. */
export async function gemmPeers(
  products: readonly Product[],
  threads: number,
  { inJavaScript, seconds, isQuick }: PeerOptions,
): Promise<PeerLine[]> {
  const text = (some: readonly Product[]): string =>
    some.map(({ name, m, n, k, layout }) => `${name}:${m}x${n}x${k}:${layout}`).join(",");
  const settings = ["--seconds", String(seconds), "--threads", String(threads)];
  const squares = text(products.filter(({ layout }) => layout === "nn").filter(({ m, n, k }) => m === n && n === k));
  const matmul = (peer: string, needs: string, shapes = squares, args = settings): Program => ({
    file: "matmul.mjs",
    args: ["--peer", peer, "--shapes", shapes, ...args],
    needs,
  });
  const all = text(products);
  const forBrowsers = [
    matmul("ort-web", "onnxruntime-web"),
    matmul("jaxjs", "@jax-js/jax"),
    matmul("tfjs-wasm", "@tensorflow/tfjs-backend-wasm", squares, settings.slice(0, 2)), // has one thread in Node
  ];
  return [
    ...(await runTorch("torch-matmul.py", ["--shapes", all, ...settings.slice(0, 2)], threads, { isQuick })),
    ...(await runAll([matmul("ort-node", "onnxruntime-node", all), ...(inJavaScript ? forBrowsers : [])], threads)),
  ];
}

export interface LlamaSize {
  readonly dim: number;
  readonly layers: number;
  readonly heads: number;
  readonly vocab: number;
  readonly seq: number;
  readonly batch: number;
}

/** One AdamW step of the LLaMA of that size, in tokens/s, as `step`; and as `peak` the most memory that the process held, in MB.
 *  jax-js as it comes has one thread in Node; `jaxjs-worker` was given a Worker. `torch-compile`, PyTorch's own compiler, is measured
 *  where the programs for browsers are not. */
export async function llamaTrainPeers(
  size: LlamaSize,
  steps: number,
  threads: number,
  { inJavaScript, isQuick }: Omit<PeerOptions, "seconds">,
): Promise<PeerLine[]> {
  const sizes = Object.entries({ ...size, steps }).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const jaxjs = (workers: number): Program => ({
    file: "jaxjs-llama-train.mjs",
    args: [...sizes, "--threads", String(workers)],
    needs: "@jax-js/jax",
  });
  const programs: Program[] = [
    jaxjs(1),
    ...(threads > 1 ? [jaxjs(threads)] : []),
    { file: "tfjs-llama-train.mjs", args: sizes, needs: "@tensorflow/tfjs-backend-wasm" },
  ];
  return [
    ...(await runTorch("torch-llama-train.py", sizes, threads, { isQuick })),
    ...(inJavaScript
      ? await runAll(programs, threads)
      : await runTorch("torch-llama-train.py", [...sizes, "--compile"], threads, { isQuick })),
  ];
}

/** The cost of a call in microseconds; the cases `read`, `await`, `chain` and `tree` are those of bench/peers/dispatch.mjs. */
export function dispatchPeers(leaves: number): Promise<PeerLine[]> {
  const dispatch = (peer: string, needs: string): Program => ({
    file: "dispatch.mjs",
    args: ["--peer", peer, "--leaves", String(leaves)],
    needs,
  });
  return runAll(
    [
      dispatch("jaxjs", "@jax-js/jax"),
      dispatch("jaxjs-eager", "@jax-js/jax"),
      dispatch("tfjs-wasm", "@tensorflow/tfjs-backend-wasm"),
    ],
    1,
  );
}

/** What chains take beyond input and output, in MB; the cases are those of bench/peers/memory.mjs. */
export function memoryPeers(names: readonly string[]): Promise<PeerLine[]> {
  const chain = (peer: string, needs: string, name: string): Program => ({
    file: "memory.mjs",
    args: ["--peer", peer, "--case", name],
    needs,
  });
  return runAll(
    names.flatMap((name) => [
      chain("jaxjs", "@jax-js/jax", name),
      chain("tfjs-wasm", "@tensorflow/tfjs-backend-wasm", name),
    ]),
    1,
  );
}

/** PyTorch eager, and the JavaScript peers, to be called for the cases of bench/peers/ops.json. */
export async function opsPeers(
  threads: number,
  { inJavaScript, isQuick }: Omit<PeerOptions, "seconds">,
): Promise<CalledPeer[]> {
  const found = await calledTorches({ file: "torch-ops.py" }, threads, isQuick);
  const forBrowsers = [
    ["jaxjs", "@jax-js/jax"],
    ["tfjs-wasm", "@tensorflow/tfjs-backend-wasm"],
    ["ort-web", "onnxruntime-web"],
  ] as const;
  for (const [name, needs] of inJavaScript ? forBrowsers : []) {
    const peer = await calledPeer({ file: "ops.mjs", args: ["--peer", name], needs });
    if (peer) found.push(peer);
  }
  return found;
}

/** Another tokenizer, to be called for the texts `NAME.txt` of a folder. */
export function tokenizerPeer(vocabulary: "o200k" | "llama3", folder: string): Promise<CalledPeer | null> {
  const [peer, needs] =
    vocabulary === "o200k" ? ["gpt-tokenizer", "gpt-tokenizer"] : ["huggingface", "@huggingface/tokenizers"];
  return calledPeer({ file: "tokenizer.mjs", args: ["--peer", peer, "--folder", folder], needs });
}
