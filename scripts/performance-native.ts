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

const atLeast = (what: string, bar: number, of: Bar["of"], tried?: string): Bar => ({
  what,
  unit: "×",
  bound: "at least",
  bar,
  of,
  ...(tried !== undefined && { tried }),
});

const productsTried =
  "Tiles of 6 × 4 vectors reach 85 to 95 % of a loop of nothing but fused multiply-adds; blocks along k gained nothing up to 4096. A product is two parts, all packing and then all tiles with what is left over of rows and columns; packing takes a tenth of those over 2048 terms, at the speed of the third cache; rows that are packed go by tiles of 8 × 3, as eight neighbours are moved as one vector and six are not (2 to 4 % of gradients of weights; tiles of 12 × 2 lose 5 to 20 % there). Where packed rows would be more than 8 MB (the gradient of a head's weights), up to 8 pieces are packed and multiplied in turn, in 4 MB that stay in a cache: 195 GFLOP/s, then 227. Of two threads each packs the rows and the columns that it multiplies, and has tiles of the larger operand to itself. Where a host puts the two cores beside different third caches (a word goes there and back in 0.4 µs, otherwise in 0.1, and that changes from minute to minute), lines that both read take four times as long to pack: gradients of weights, 440 to 480 GFLOP/s otherwise, fell to 315 to 385 and are at 340 to 415 now, PyTorch's at 360 to 435 there and 430 to 480 otherwise. Packing of one thread waits for memory: rows asked for 12 ahead gained nothing, two pieces for rows of 6 MB neither, three 2 %.";
const wordsTried =
  "Columns are packed as words of two bf16 or four bytes, so that a step is one load and one instruction a vector. Bytes put together anew for each tile of 8 rows reached 140 to 420 GOP/s of 1,050; packed 700, as the instruction multiplies bytes without a sign by such with one, and 1 in 7 was to take off what 128 adds: now words are moved by 128 where they are packed, and the rows' sums are taken off at the end. Panels of 16 to 90 MB went to memory and came back: pieces of 2 MB, 8 at most, take 128 rows by 4096² of bf16 from 0.73 to 0.95 of PyTorch on one thread, pieces of 1 to 4 MB are alike. Where weights lie along the sum, half of that came from reading 16 rows of them one behind the other in place of 64 side by side; the hint with which they are asked for changes nothing.";
const blocksTried =
  'Products with q8_0 and bf16 decode in registers as fast as memory gives the weights. q4_0 at batch 1 waited for memory that was asked for one tile ahead: asked for 8 KiB ahead, rows of 768 are read at 22 GB/s, before 15, and from caches, where decoding is all, at 24. On Linux memory is asked for in huge pages (2 MiB): in turn with small ones weights are read 6 to 10 % faster, models infer 2 to 4 % and the small LLaMA trains 5 % faster; single operations are alike in the mean, some of arrays in caches up to a tenth slower or faster, where addresses fall into the same sets of a cache. Beside blocks llama.cpp rounds the other operand to 8 bits and multiplies integers; what is compared with it does so too, as it is asked to (`activations: "int8"`), and products with f32 activations have rows of their own. Lanes are columns there. As they lie, 16 rows of weights are read side by side and turned in registers, asked for one tile ahead in the order in which they lie: q4_0 is read at 0.70 to 0.73 of what memory gives on one thread (asked for row by row at a third). Laid once (`frozen`, as llama.cpp does at load; weights as they are have rows of their own), the scales of 16 rows and then four codes of each in turn are one stream, asked for 8 KiB ahead: 0.90 to 0.93, in turn with both, and from a second cache 88 GB/s, before 50; batches of 8 and 128 take a sixth less time too, as does q8_0 there, and a token of a model in q4_0, whose weights are partly in the third cache, takes 1.20 ms where it took 1.76 on one thread, 0.81 where it took 1.10 on two. In C, in turn: not asked for 0.82 of it, 2 KiB ahead 0.82, 4 KiB 0.88, 8 KiB 0.90 to 0.95, 16 KiB 0.88 to 0.93, into any cache; codes and scales as two streams 0.73 to 0.76; scales of two blocks in one cache line gain nothing. Beside bf16 llama.cpp rounds the other operand to bf16, and so does what is compared with it, by dot instructions; f32 beside bf16 has rows of its own. At batches of 1 and 8 weights of bf16 are laid once too: pairs of neighbours of up to 64 rows are one stream, and a vector of memory is an operand, where 16 rows were read side by side and turned. They are read at 0.92 to 1.08 of what memory gives then, as those of llama.cpp are: eight measurements in turn gave 0.91 to 1.29 of its speed, 1.00 in the mean on one thread and 1.07 on two; in huge pages, which llama.cpp does not ask for, 1.12 to 1.21. Each of two threads reads a half of its own, the same for each product of one size: in turn with chunks taken from one counter, q4_0 of 4096² takes 0.15 to 0.16 ms where it took 0.20 to 0.28, bf16 0.52 to 0.54 where it took 0.57 to 0.81. Beside f32, rows of bf16 beyond the second cache are read one after another at batch 1, one stream of memory in place of four: 36 GB/s on one thread and 49 on two, before 31 and 40. What held them there was the chain of additions, 8 clocks for each line of 64 bytes: cut in runs of 1,024 terms, whose chains overlap, and with each line asked for once, past the second cache, they are read 1.06 to 1.18 times as fast where memory is quiet, and as fast as before where neighbours use it. Rows of x that leave the first cache no room (over 8,192 terms) are read for four rows of weights at a time: 31 GB/s in place of 25. What two threads get of memory depends on where a virtual machine has its processors: on one die, 40 ns from each other, C reads 40 to 50 GB/s, on two, 200 ns apart, 70 to 90, and that changes within seconds; measured minutes apart weights were read at 0.57 to 0.73 of it on two threads, in turn at 0.81 to 0.98. Calls of 2 to 10 ms no longer pay some 0.1 ms for a hop to another thread. Two or four rows of bf16 of 4,096 terms at a time, asked for in the order in which they lie or not, at any distance, into any cache, are 5 to 30 % slower than one.';
const decodeTried =
  "A token's products read 75 to 90 % of what memory gives. In f32 a vector's lanes are rows, as each adds its products in order, so 16 rows are read side by side, a line of each in turn: 37 GB/s on one thread and 43 on two of one die, where rows read one after another, with 16 sums each, give 40 and 52. No order or distance in which lines are asked for ahead gives more: one to four lines of a row, a row's next 4 to 32 lines, whole rows of the next tile, into each cache, with large pages. Packed once (`frozen`, an option of sessions), weights are read as they lie, with the same sums: a token takes 5.1 ms where it took 5.8 on one thread, 4.6 where it took 5.1 on two, for twice the memory; as they are has a row of its own. Keys and values are written where they are kept: a token copies nothing. Attention is a fifth of a token of q4_0, gaps between its 111 launches 4 µs together; a call recognises the model and keeps its list of steps, so that JavaScript takes 13 µs of a token where its caches are warm, before 56. The second thread was asleep for most of it: it took each involuntary switch since it last looked for a sign that others want its core, and there are 12 to 50 a second on a machine that does nothing else. Now only milliseconds that are lost three times in a short one are one, and a token of q4_0 that took 1.13 ms on two threads takes 0.65 to 0.73 (1.25 on one).";
const inferTried =
  "Weights are packed once (`frozen`, as ONNX Runtime does), before at each call: on one thread the network of linear layers took 155 µs at batch 1, then 95, at batch 8 256 and then 150, the small encoder 5.7 ms and then 4.6, all level with ONNX Runtime or ahead. Convolutions whose rows are short or leave lanes empty, and those that go by steps of two, have channels as lanes, and what a tile of 14 pixels gives is turned in registers (ResNet-18 at 224²: 26 ms, then 20, 18.6 and 15.9; ONNX Runtime 15.6; on two threads 12.1, then 9.0, and 8.2 there): layers of 3² run at 245 to 280 GFLOP/s of some 280. Images are stored within their padding by the kernels that make them, where each padded one was a copy (at batch 8 6 of 134 ms); borders are shared by images and count as the little that they are, and the windows of a pool go through an image once (2.8 ms, then 1.9). What lies beside a convolution is added in its own rows, once sums are turned, and rows of results and of what is added are asked for while sums are made: convolutions over 64 channels ran at 240 and 225 GFLOP/s, now at 260 and 250. Frozen statistics of a norm are a factor and an offset of each channel. What is left of it: the first convolution, whose sums are short, runs at 235 GFLOP/s (ONNX Runtime 255), its image is copied into a frame, and pools take half as long again as there. Ends of rows made by the thread that makes the rows changed nothing; nor did asking for rows of the first convolution's results, which made it 7 % slower. At batch 1 that network takes 71 µs on one thread and 41 on two, 68 while the second one slept between calls; waking it takes 6 µs of the caller's time and 16 until it comes, and a step that both are looking for is handed over in 0.15.";
const cnnTried =
  "No step of a convolution or of its gradients is taken that sees only padding (3 in 10 of an image of 4², 1 in 6 of 8², 1 in 12 of 16²; there those at the ends of a row are left in), and the sums of batch norm go through memory as it lies. The remainders of a strided convolution's gradient are convolutions of their own (9 steps, 16 while they were filled up with zeros), the rows of an image that windows see next are asked for while those before are summed (channels of 64: 236 GFLOP/s, then 265), rows of 16 pixels have channels as lanes (240, then 265): a step on one thread took 1 016 ms, then 941. Padded images are copies no longer (10 ms of 993, called in turn). What is left: gradients of weights run at 205 to 270 GFLOP/s, those of strided ones at 0.7 of that, and a norm reads its image once for each of its sums (some 10). Sums of weights' gradients cut into blocks of images would gain little: at batches of 8, 16, 32 and 64, of which only the first fits the second cache, they are as fast.";
const trainTried =
  "Of a step of 40 million parameters on one thread products are 89 %, at 215 to 265 GFLOP/s, attention and its derivative 6.5 %, of which two thirds are products again, those of attention at 250; what updates the optimizer runs at the speed of memory. Gradients of norms' scales, sums along columns, took 2 % as they read pieces of rows that lie under each other, 10 GB/s; read row after row they take a sixth of it. The derivative of the gated unit was two kernels with four values between them: as one kernel, which stores three values, it takes 14 ms in place of 39. A token's heads are turned by their positions while they lie together, so that products with the gradients of queries and keys find rows as they lie: one step in a hundred. Packed rows are eight at a time (tiles of 8 × 3 vectors), which took 0.7 % off the step in turn with tiles of 6 × 4. The tiles' code alone, of a C program over the same operands, runs at 270 GFLOP/s where they are in caches and at 255 to 260 where each call has others; in the step they are at 245 to 258, and packing takes 3 % of it. A sum of 2048 terms runs at 250 of 265 as its panels fill the second cache: cutting it in two, with the first half's results as where the second begins, would have the same bits and is not built. Prefetching the panel's vectors, blocks of 1 to 12 tiles and tiles of 12 × 2 and 14 × 2 give no more, but for the sum of 8192 terms behind the head (12 × 2 in blocks of 6: 237 GFLOP/s, then 217 to 219), 0.3 % of the step, not built. What is left beside products are the packed rows of two more of them, behind attention, whose heads lie apart (1 %). The optimizer is a launch for each parameter: with two threads all of them lose 6 µs of the 6.9 ms of `npm start`'s step, and less than a thousandth with 6.9 million parameters, so launches are not joined; that step keeps both threads busy for 93 % of its time, this one for 99 %.";
const peakTried =
  "287 MB are tensors (303 while the derivative of the gated unit was two kernels); Node, the packages and koffi are some 110 MB, V8's heap some 30 to 60 more: a process that compiles the step has a heap of 120 MB, one that finds its kernels' texts of 60. With the cache of kernels grew what listing it took, 90 MB with 29,000 entries; a lookup reads one of 256 folders now. Zeros of an optimizer's state are filled on the device, and no array of them is made.";
const startTried =
  "The build of the kernels is a part of it where they are not cached, some seconds once. A step is 5 ms on both threads, of which some 1.5 are JavaScript between the kernels, as in WebAssembly. Hashing of checkpoints takes a seventh of what it did.";

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
    productsTried,
  ),
  atLeast("the product that is furthest behind", 0.85, least("gemm", ["least"], ["best-native"]), productsTried),
  atLeast(
    "products of bf16, geometric mean over 512³ to 2048³, a LLaMA's and 128 rows by 4096², to PyTorch at each",
    0.95,
    least("gemm", ["geometric-mean-bf16"], ["best-native"]),
    wordsTried,
  ),
  atLeast(
    "products of integers of 8 bits, geometric mean over the same, to PyTorch at each",
    0.95,
    least("gemm", ["geometric-mean-i8"], ["best-native"]),
    wordsTried,
  ),
  atLeast(
    "products with weights in q4_0, q8_0 and bf16 at batches 1, 8 and 128, the furthest behind llama.cpp",
    1,
    least("gemm-quant", ["least"], ["best"]),
    blocksTried,
  ),
  atLeast(
    "their weights read at batch 1, to the memory's speed",
    0.85,
    least("gemm-quant", quantised, ["memory"]),
    blocksTried,
  ),
  ...models.flatMap(([suffix, size]): Bar[] => [
    atLeast(
      `LLaMA training step, ${size}, to PyTorch's best arrangement of threads`,
      1.3,
      least("llama-train", [`step${suffix}`], ["torch"]),
      trainTried,
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
      tried: peakTried,
    },
  ]),
  atLeast(
    "tokens one after another, f32, to llama.cpp",
    1,
    least("llama-decode", ["token"], ["llama.cpp"]),
    decodeTried,
  ),
  atLeast("the same, to transformers on PyTorch", 1, least("llama-decode", ["token"], ["transformers"]), decodeTried),
  atLeast(
    "tokens one after another, q4_0, to llama.cpp",
    1,
    least("llama-decode", ["token-q4_0"], ["llama.cpp"]),
    blocksTried,
  ),
  atLeast(
    "inference of four models at batches 1 and 8, geometric mean, to ONNX Runtime",
    1,
    least("infer", ["geometric-mean"], ["best"]),
    inferTried,
  ),
  atLeast(
    "training step of ResNet-18 on images of 32², to PyTorch",
    1,
    least("cnn-train", ["step"], ["torch"]),
    cnnTried,
  ),
  atLeast(
    "geometric mean over operations and layers, to PyTorch eager",
    1,
    least("ops", ["geometric-mean-torch"], ["best-torch"]),
  ),
  atLeast(
    "`npm start`, to its WebAssembly tier",
    2.5,
    ({ ratio }) => ratio("start", "run", 2, ["wasm-tier"]),
    startTried,
  ),
  {
    what: "LLaMA training step, 6.9 million parameters, until its kernels are built, nothing being cached",
    unit: "s",
    bound: "at most",
    bar: 10,
    of: ({ ours }) => ours("native-start", "build", 2),
  },
  {
    what: "the same, until they are found in the cache: tracing and compiling included",
    unit: "s",
    bound: "at most",
    bar: 0.3,
    of: ({ ours }) => ours("native-start", "cached", 2),
  },
  {
    what: "building for 48 layers, to 6",
    unit: "×",
    bound: "at most",
    bar: 1.5,
    of: ({ ours }) => ours("native-start", "ratio", 2),
  },
];
