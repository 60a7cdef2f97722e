/** The programs of bench/peers for benches that several frameworks of JavaScript are set beside: which there are, and how they are
 *  told what to measure. What one bench alone has is said there. */
import { type CalledPeer, calledPeer, calledPeers, calledTorches } from "./called-peer.ts";
import { type PeerLine, type Program, runAll } from "./peers.ts";

/** A product of matrices: a [m, k] by b [k, n]. */
export interface Product {
  readonly name: string;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** Of a and b: `n` as they are, `t` where the transpose is stored. */
  readonly layout: "nn" | "nt" | "tn";
  readonly dtype: "f32" | "bf16" | "i8";
}

/** Which of the peers are measured: the programs for browsers as well, which are none of the native tier's. */
export interface PeerOptions {
  readonly inJavaScript: boolean;
  readonly isQuick: boolean;
}

/** What multiplies matrices, to be called for products by their names; ONNX Runtime has those of f32, the programs for browsers square ones. */
export async function gemmPeers(
  products: readonly Product[],
  threads: number,
  { inJavaScript, isQuick }: PeerOptions,
): Promise<CalledPeer[]> {
  const text = (some: readonly Product[]): string =>
    some.map(({ name, m, n, k, layout, dtype }) => `${name}:${m}x${n}x${k}:${layout}:${dtype}`).join(",");
  const inFull = products.filter(({ dtype }) => dtype === "f32");
  const squares = inFull.filter(({ layout, m, n, k }) => layout === "nn" && m === n && n === k);
  const found = await calledTorches({ file: "torch-matmul.py", args: ["--shapes", text(products)] }, threads, isQuick);
  const others = [
    ["ort-node", "onnxruntime-node", inFull, threads],
    ...(inJavaScript
      ? ([
          ["ort-web", "onnxruntime-web", squares, threads],
          ["jaxjs", "@jax-js/jax", squares, threads],
          ["tfjs-wasm", "@tensorflow/tfjs-backend-wasm", squares, 0], // has one thread in Node
        ] as const)
      : []),
  ] as const;
  const programs = others.map(([name, needs, some, count]): Program => {
    const args = ["--peer", name, "--shapes", text(some), "--threads", String(count)];
    return { file: "matmul.mjs", args, needs };
  });
  return [...found, ...(await calledPeers(programs, { threads }))];
}

export interface LlamaSize {
  readonly dim: number;
  readonly layers: number;
  readonly heads: number;
  readonly vocab: number;
  readonly seq: number;
  readonly batch: number;
}

const settings = (sizes: object): string[] =>
  Object.entries(sizes).flatMap(([name, value]) => [`--${name}`, String(value)]);

/** PyTorch, to be called for `step`, an AdamW step of the LLaMA of that size, and then for `peak`; and compiled by itself as `torch-compile`. */
export async function llamaTrainTorches(
  size: LlamaSize,
  threads: number,
  { isCompiled, isQuick }: { readonly isCompiled: boolean; readonly isQuick: boolean },
): Promise<CalledPeer[]> {
  const program = { file: "torch-llama-train.py", args: settings(size) };
  const eager = await calledTorches(program, threads, isQuick);
  if (!isCompiled) return eager;
  return [...eager, ...(await calledTorches({ ...program, args: [...program.args, "--compile"] }, threads, isQuick))];
}

/** The same step in programs for browsers, in tokens/s, as `step`; and as `peak` the most memory that the process held, in MB.
 *  jax-js as it comes has one thread in Node; `jaxjs-worker` was given a Worker. */
export function llamaTrainPeers(size: LlamaSize, steps: number, threads: number): Promise<PeerLine[]> {
  const sizes = settings({ ...size, steps });
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
  return runAll(programs, threads);
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
export async function opsPeers(threads: number, { inJavaScript, isQuick }: PeerOptions): Promise<CalledPeer[]> {
  const found = await calledTorches({ file: "torch-ops.py" }, threads, isQuick);
  const forBrowsers = [
    ["jaxjs", "@jax-js/jax"],
    ["tfjs-wasm", "@tensorflow/tfjs-backend-wasm"],
    ["ort-web", "onnxruntime-web"],
  ] as const;
  if (!inJavaScript) return found;
  const programs = forBrowsers.map(([name, needs]): Program => ({ file: "ops.mjs", args: ["--peer", name], needs }));
  return [...found, ...(await calledPeers(programs))];
}

/** Another tokenizer, to be called for the texts `NAME.txt` of a folder. */
export function tokenizerPeer(vocabulary: "o200k" | "llama3", folder: string): Promise<CalledPeer | null> {
  const [peer, needs] =
    vocabulary === "o200k" ? ["gpt-tokenizer", "gpt-tokenizer"] : ["huggingface", "@huggingface/tokenizers"];
  return calledPeer({ file: "tokenizer.mjs", args: ["--peer", peer, "--folder", folder], needs });
}
