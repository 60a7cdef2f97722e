/** What the benches are held to in the native tier, beside the best frameworks that run natively, with one thread and with two; the worst
 *  of both counts. `scripts/performance.ts` makes the page of it. */
import type { Bar, Figures } from "./performance-bars.ts";

const threads = [1, 2] as const;

/** The smallest of the ratios with one thread and with two, over these cases; undefined where one was not measured. */
const least =
  (bench: string, cases: readonly string[], peers: readonly string[]) =>
  ({ ratio }: Figures): number | undefined => {
    const ratios = threads.flatMap((t) => cases.map((name) => ratio(bench, name, t, peers)));
    const known = ratios.filter((r) => r !== undefined);
    return known.length === ratios.length ? Math.min(...known) : undefined;
  };

const atLeast = (what: string, bar: number, of: Bar["of"]): Bar => ({ what, unit: "×", bound: "at least", bar, of });

const quantised = ["q4_0", "q8_0", "bf16"].flatMap((format) =>
  ["4096x4096", "11008x4096"].map((size) => `${format}-${size}-b1/read`),
);
const models = [
  ["", "6.9 million parameters"],
  ["-40m", "40 million parameters"],
] as const;

export const nativeBars: readonly Bar[] = [
  atLeast(
    "products, geometric mean over 512³ to 2048³ and a LLaMA's, to the best of PyTorch and ONNX Runtime at each",
    0.95,
    least("gemm", ["geometric-mean"], ["best-native"]),
  ),
  atLeast("the product that is furthest behind", 0.85, least("gemm", ["least"], ["best-native"])),
  atLeast(
    "products with weights in q4_0, q8_0 and bf16 at batches 1, 8 and 128, the furthest behind llama.cpp",
    1,
    least("gemm-quant", ["least"], ["best"]),
  ),
  atLeast("their weights read at batch 1, to the memory's speed", 0.85, least("gemm-quant", quantised, ["memory"])),
  ...models.flatMap(([suffix, size]): Bar[] => [
    atLeast(
      `LLaMA training step, ${size}, to PyTorch's best arrangement of threads`,
      1.3,
      least("llama-train", [`step${suffix}`], ["torch"]),
    ),
    atLeast(`the same, to torch.compile`, 1, least("llama-train", [`step${suffix}`], ["torch-compile"])),
    {
      what: "its peak memory, of PyTorch's",
      unit: "×",
      bound: "at most",
      bar: 0.5,
      of: (figures) => {
        const ratio = least("llama-train", [`peak${suffix}`], ["torch"])(figures);
        return ratio === undefined ? undefined : 1 / ratio;
      },
    },
  ]),
  atLeast("tokens one after another, f32, to llama.cpp", 1, least("llama-decode", ["token"], ["llama.cpp"])),
  atLeast("the same, to transformers on PyTorch", 1, least("llama-decode", ["token"], ["transformers"])),
  atLeast("tokens one after another, q4_0, to llama.cpp", 1, least("llama-decode", ["token-q4_0"], ["llama.cpp"])),
  atLeast(
    "inference of four models at batches 1 and 8, geometric mean, to ONNX Runtime",
    1,
    least("infer", ["geometric-mean"], ["best"]),
  ),
  atLeast("training step of ResNet-18 on images of 32², to PyTorch", 1, least("cnn-train", ["step"], ["torch"])),
  atLeast(
    "geometric mean over operations and layers, to PyTorch eager",
    1,
    least("ops", ["geometric-mean-torch"], ["best-torch"]),
  ),
  atLeast("`npm start`, to its WebAssembly tier", 2.5, ({ ratio }) => ratio("start", "run", 2, ["wasm-tier"])),
];
