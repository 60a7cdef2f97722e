/** What the benches are held to, and for what is missed a word on what was tried. `scripts/performance.ts` makes the page of it. */
export interface Bar {
  readonly what: string;
  readonly unit: string;
  readonly bound: "at least" | "at most";
  readonly bar: number;
  /** What was measured; undefined where it, or the peer that it is a ratio to, was not. */
  readonly of: (figures: Figures) => number | undefined;
  /** Shown where the bar is missed. */
  readonly tried?: string;
}

/** Figures by bench, case, threads and peer. */
export interface Figures {
  /** Our own figure. */
  readonly ours: (bench: string, name: string, threads?: number) => number | undefined;
  /** How many times better than a peer we are, or than the best of several. */
  readonly ratio: (bench: string, name: string, threads: number, peers: readonly string[]) => number | undefined;
}

const inJavaScript = ["jaxjs", "tfjs-wasm", "ort-web"] as const;
const inverse = (x: number | undefined): number | undefined => (x === undefined ? undefined : 1 / x);
const quotient = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined ? undefined : a / b;

const gemmTried =
  "The tile is 6 × 8 in registers; panels are packed four rows at a time, and blocks begin in different sets of the caches. A result that is disposed of gives its memory to the next one at once. What is left is packing, and what a call costs around the product.";
const dispatchTried =
  "A call like the last one walks a pattern of its arguments instead of flattening them, small results share one block of memory, and records are copied rather than filled. What is left is a buffer, a finalizer and a tensor for each result.";
const sizes = ["512", "1024", "2048"] as const;
const swept = ["exp", "log", "sin", "cos", "tanh", "erf", "sigmoid", "softplus", "expm1", "log1p"] as const;

export const bars: readonly Bar[] = [
  ...sizes.map(
    (n): Bar => ({
      what: `product of ${n}³, one thread, to the fastest JavaScript peer`,
      unit: "×",
      bound: "at least",
      bar: 1.25,
      of: ({ ratio }) => ratio("gemm", n, 1, inJavaScript),
      tried: gemmTried,
    }),
  ),
  ...sizes.map(
    (n): Bar => ({
      what: `product of ${n}³, one thread, to a loop of nothing but multiply-adds`,
      unit: "×",
      bound: "at least",
      bar: 0.85,
      of: ({ ratio }) => ratio("gemm", n, 1, ["madd"]),
      tried: gemmTried,
    }),
  ),
  ...sizes.map(
    (n): Bar => ({
      what: `product of ${n}³, two threads to one`,
      unit: "×",
      bound: "at least",
      bar: 1.8,
      of: ({ ours }) => quotient(ours("gemm", n, 2), ours("gemm", n, 1)),
      tried:
        "Chunks are of one length and as many for each thread. Workers take some tenths of a millisecond to wake up and to tell that they are done, which a small product does not make good.",
    }),
  ),
  ...(
    [
      ["jax-js as it comes in Node", "jaxjs", 2],
      ["jax-js with a Worker given to it", "jaxjs-worker", 1.3],
      ["TensorFlow.js", "tfjs-wasm", 3],
    ] as const
  ).map(
    ([name, peer, bar]): Bar => ({
      what: `LLaMA training step, two threads, to ${name}`,
      unit: "×",
      bound: "at least",
      bar,
      of: ({ ratio }) => ratio("llama-train", "step", 2, [peer]),
      tried:
        "The table of `explain` says where a step's time goes: most of it is products, which run near their own bar.",
    }),
  ),
  ...(
    [
      ["jax-js's", "jaxjs", 0.3],
      ["TensorFlow.js's", "tfjs-wasm", 0.3],
      ["PyTorch's", "torch", 0.5],
    ] as const
  ).map(
    ([name, peer, bar]): Bar => ({
      what: `its peak memory, of ${name}`,
      unit: "×",
      bound: "at most",
      bar,
      of: ({ ratio }) => inverse(ratio("llama-train", "peak", 2, [peer])),
      tried:
        "The peak counts the whole process: 303 MB are tensors, the same each time, some 105 MB Node and the packages, the rest the heap in which V8 keeps what compiling made, of which the new space alone grows to 64 MB. It was 555 to 612 MB, and 695 once, while the collector was told of device memory by ArrayBuffers that the process's heap zeroed, and the bench read all weights before its first step; without both it was 521 to 524 in seven runs on a busy machine.",
    }),
  ),
  {
    what: "training on packed documents of skewed length, two threads, to padded ones",
    unit: "×",
    bound: "at least",
    bar: 2,
    of: ({ ours }) => ours("packing", "ratio", 2),
    tried:
      "Rows are filled by best fit to the last places, and tiles between documents are not visited. What is left is how long the documents are.",
  },
  {
    what: "peak of a training step with a vocabulary of 32,000, cross entropy in chunks to all logits at once",
    unit: "×",
    bound: "at most",
    bar: 0.75,
    of: ({ ours }) => ours("chunked-loss", "peak-ratio", 2),
    tried: "What is left are weights, moments, gradients and the activations of the layers.",
  },
  {
    what: "all reports, of the time of a step of 20 ms",
    unit: "%",
    bound: "at most",
    bar: 1,
    of: ({ ours }) => ours("reports", "share"),
    tried:
      "Files are appended to once a second, and a page is made when the last one was a 600th of the time since; at a load of fifteen, of which a process that mostly waits feels most.",
  },
  {
    what: "geometric mean over operations and layers, to the best JavaScript peer of each",
    unit: "×",
    bound: "at least",
    bar: 1.5,
    of: ({ ratio }) => ratio("ops", "geometric-mean", 1, ["best"]),
    tried:
      "Behind the peers are single element-wise operations: theirs write into memory that is in the caches already, and a read of ours is a call of its own. Sines reduce far arguments in each lane, needed or not.",
  },
  ...(
    [
      ["call", "a jitted call read back", 5],
      ["call-chain", "a jitted call in a chain", 3],
      ["tree", "a jitted update of 300 leaves", 150],
    ] as const
  ).map(
    ([name, what, bar]): Bar => ({
      what,
      unit: "µs",
      bound: "at most",
      bar,
      of: ({ ours }) => ours("dispatch", name, 1),
      tried: dispatchTried,
    }),
  ),
  ...(
    [
      ["chain", "memory of 24 element-wise ops over 4 MB, beyond input and output", 0],
      ["chain-grad", "memory of their gradient", 4],
      ["softmax-chain", "memory of 24 row-softmaxes", 4],
    ] as const
  ).map(
    ([name, what, bar]): Bar => ({ what, unit: "MB", bound: "at most", bar, of: ({ ours }) => ours("memory", name) }),
  ),
  {
    what: "the first LLaMA step, compiling included",
    unit: "s",
    bound: "at most",
    bar: 3,
    of: ({ ours }) => ours("compile", "first-step"),
    tried:
      "Nodes are interned by numbers, schedules are applied once, equal layers are compiled once; kernels compile in the engine meanwhile, and first run slice by slice, so that it can change to better code on the way.",
  },
  {
    what: "compiling 48 layers to compiling 6",
    unit: "×",
    bound: "at most",
    bar: 1.5,
    of: ({ ours }) => ours("compile", "ratio"),
    tried:
      "Equal layers are traced, differentiated and compiled once, their calls are found without copying the graph, and weights are updated between the steps of the backward pass, so that memory does not grow with their gradients; tracing the model around the layers, the passes over their calls and the collector still grow with them.",
  },
  {
    what: "import to first result",
    unit: "ms",
    bound: "at most",
    bar: 150,
    of: ({ ours }) => ours("startup", "result"),
    tried: "Only the device that is asked for is loaded, and rare families of ops only with their builders.",
  },
  {
    what: "a bundled MLP that trains, gzip",
    unit: "KB",
    bound: "at most",
    bar: 80,
    of: ({ ours }) => ours("size", "mlp"),
    tried:
      "Rare families of ops, symbolic dims, kernels of rows, threads and several memories register themselves where they are imported. The rest is the compiler itself: passes, schedules and the assembler.",
  },
  ...(["english", "code"] as const).flatMap((text): Bar[] => [
    {
      what: `token ids of ${text}, GPT-4o's vocabulary, to gpt-tokenizer`,
      unit: "×",
      bound: "at least",
      bar: 1,
      of: ({ ratio }) => ratio("tokenizer", `o200k-${text}`, 1, ["gpt-tokenizer"]),
    },
    {
      what: `token ids of ${text}, LLaMA-3's vocabulary, to @huggingface/tokenizers`,
      unit: "×",
      bound: "at least",
      bar: 3,
      of: ({ ratio }) => ratio("tokenizer", `llama3-${text}`, 1, ["huggingface"]),
    },
  ]),
  ...swept.map(
    (name): Bar => ({
      what: `error of ${name} over every f32`,
      unit: "ulp",
      bound: "at most",
      bar: 2,
      of: ({ ours }) => ours("accuracy", name),
    }),
  ),
  { what: "error of pow", unit: "ulp", bound: "at most", bar: 4, of: ({ ours }) => ours("accuracy", "pow") },
];
