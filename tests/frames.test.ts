/** Images that are stored within their padding by the kernels that make them (`core/src/compiler/frames.ts`): which are, and that every device
 *  gives what the function says without passes. Values are small integers, so that sums are exact in any order. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { frameImages } from "sinan/frames";
import { passes } from "../core/src/compiler/compile.ts";
import { fuse } from "../core/src/compiler/fuse.ts";
import { runPasses } from "../core/src/compiler/pass.ts";
import { conv, conv2d, device, jit, maxPool, maximum, nn, tensor, type Tensor } from "../core/src/index.ts";
import { evaluate } from "../core/src/interpreter/evaluate.ts";
import { doubles, type Value, valueOf } from "../core/src/interpreter/value.ts";
import { tensorType } from "../core/src/ir/type.ts";
import { trace } from "../core/src/tensor/trace.ts";
import { deviceNames, noNative } from "./devices.ts";

// The native tier adds the pass when it is loaded.
if (!passes.some(({ name }) => name === "frame-images")) frameImages();

type Body = (x: Tensor, w: Tensor, v: Tensor, u: Tensor, s: Tensor) => Tensor | Tensor[];
type Given = Parameters<Body>;

interface Case {
  readonly name: string;
  readonly dims: readonly (readonly number[])[];
  readonly body: Body;
  /** How many images are stored in frames. */
  readonly frames: number;
}

const padded = { padding: 1 };
const image = [2, 3, 6, 7];
const square = [4, 3, 3, 3];
const next = [4, 4, 3, 3];

const cases: readonly Case[] = [
  {
    name: "a residual block: the image is read in its frame by windows, beside them and in steps of two",
    dims: [image, square, next, next, [5, 4, 1, 1]],
    body: (x, w, v, u, s) => {
      const a = nn.relu(conv2d(x, w, padded));
      const b = nn.relu(conv2d(a, v, padded).add(a));
      return [conv2d(b, u, padded).add(b), conv2d(b, s, { stride: 2 })];
    },
    frames: 2,
  },
  {
    name: "a pool after a strided convolution, framed by −∞, and a convolution after it",
    dims: [[2, 3, 19, 21], square, next],
    body: (x, w, v) => {
      const a = nn.relu(conv2d(x, w, { stride: 2, padding: 1 }));
      return conv2d(maxPool(a, 3, { stride: 2, padding: 1 }), v, padded);
    },
    frames: 2,
  },
  {
    name: "long rows, a frame wider than one element, of one side only",
    dims: [
      [1, 2, 5, 70],
      [40, 2, 3, 3],
      [3, 40, 2, 4],
    ],
    body: (x, w, v) => conv2d(conv2d(x, w, padded), v, { padding: "same" }),
    frames: 1,
  },
  {
    name: "one and three axes",
    dims: [
      [2, 3, 33],
      [17, 3, 3],
      [2, 17, 5],
    ],
    body: (x, w, v) => conv(nn.relu(conv(x, w, padded)), v, { padding: 2 }),
    frames: 1,
  },
  {
    name: "three axes",
    dims: [
      [1, 2, 4, 5, 6],
      [3, 2, 2, 2, 2],
      [2, 3, 3, 3, 3],
    ],
    body: (x, w, v) => conv(conv(x, w).abs(), v, padded),
    frames: 1,
  },
  {
    name: "an image that is a result as well is stored as it is",
    dims: [image, square, next],
    body: (x, w, v) => {
      const a = conv2d(x, w, padded);
      return [a, conv2d(a, v, padded)];
    },
    frames: 0,
  },
  {
    name: "so is one that is summed, and one whose windows are of one element",
    dims: [image, square, next, [4, 4, 1, 1]],
    body: (x, w, v, p) => {
      const a = nn.relu(conv2d(x, w, padded));
      const b = conv2d(conv2d(a, v, padded).add(a.sum()), p);
      return conv2d(maximum(b, 0), v, padded);
    },
    frames: 0,
  },
];

/** Integers from −4 to 4. */
const numbers = (dims: readonly number[], seed: number): Float64Array =>
  Float64Array.from(
    { length: dims.reduce((n, d) => n * d, 1) },
    (_, i) => ((i * 7 + seed * 5 + ((i * i) % 11)) % 9) - 4,
  );

const traced = ({ dims, body }: Case) =>
  trace(
    "f",
    dims.map((d) => tensorType("f32", d)),
    (given) => body(...(given as Given)),
  ).fn;

for (const one of cases)
  test(`frames: ${one.name}`, () => {
    const { groups } = fuse(runPasses(traced(one), passes));
    const roots = groups.flatMap((piece) =>
      "call" in piece ? [] : piece.roots.map((root) => [root.op, piece.anchor?.op]),
    );
    const framed = roots.filter(([op]) => op === "framed");
    assert.equal(framed.length, one.frames);
    // By the kernel of the windows, and not by another one.
    assert.ok(framed.every(([, anchor]) => anchor === "conv" || anchor === "window"));
  });

const devices = [...deviceNames, "cpu:native"];
for (const name of devices)
  test(`images in frames have the values that they have without (${name})`, {
    skip: name === "cpu:native" && noNative,
  }, async () => {
    await device(name);
    for (const one of cases) {
      const given = one.dims.map((dims, i) => numbers(dims, i));
      const fn = traced(one);
      const expected = evaluate(
        fn,
        given.map((data, i) => valueOf("f32", one.dims[i] as readonly number[], data)),
      );
      const made = jit(one.body)(
        ...(given.map((data, i) => tensor(Float32Array.from(data), { shape: one.dims[i] as number[] })) as Given),
      );
      const results = Array.isArray(made) ? made : [made];
      for (const [i, result] of results.entries())
        assert.deepEqual(
          Array.from((await result.data()) as Float32Array),
          Array.from(doubles(expected[i] as Value)),
          one.name,
        );
    }
  });
