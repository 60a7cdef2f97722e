/** A few figures of the machine, each the median of repeated runs. */
import { jit, key, matmul, optim, random, type Tensor, tree, valueAndGrad } from "sinan";
import { llama, llamaConfig, loss, Session } from "@sinan/llm";

export interface Measure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
}

/** The work of `measures`, by name: each runs for so many seconds, and gives the median time of one. */
export const workloads: Readonly<Record<string, (seconds: number) => Promise<number>>> = {
  product: (seconds) => product(512, seconds),
  training: (seconds) => training(8, 64, seconds),
  generation: (seconds) => generation(seconds),
};

/** @param seconds  for each of them, after one run that compiles */
export async function* measures(seconds: number): AsyncGenerator<Measure, void, undefined> {
  yield {
    name: "matrix product, f32, 512³",
    value: (2 * 512 ** 3) / (await product(512, seconds)) / 1e9,
    unit: "GFLOP/s",
  };
  const bytes = 2 ** 26;
  yield { name: "sum of 64 MiB", value: bytes / (await reading(bytes / 4, seconds)) / 1e9, unit: "GB/s" };
  yield {
    name: "training step of llama-tiny, 8 × 64 tokens",
    value: 512 / (await training(8, 64, seconds)),
    unit: "tokens/s",
  };
  yield { name: "generation by llama-tiny, one text", value: 1 / (await generation(seconds)), unit: "tokens/s" };
}

/** The median time of a call in seconds. */
async function median(run: () => Promise<unknown>, seconds: number): Promise<number> {
  await run();
  const taken: number[] = [];
  const end = performance.now() + seconds * 1000;
  while (taken.length < 3 || (performance.now() < end && taken.length < 10_000)) {
    const start = performance.now();
    await run();
    taken.push((performance.now() - start) / 1000);
  }
  return taken.sort((a, b) => a - b)[taken.length >> 1] as number;
}

function product(n: number, seconds: number): Promise<number> {
  const [a, b] = [random.normal(key(1), [n, n]), random.normal(key(2), [n, n])];
  const whole = jit((x: Tensor, y: Tensor) => matmul(x, y));
  return median(async () => {
    const made = whole(a, b);
    await made.at(0, 0).item();
    made.dispose();
  }, seconds);
}

function reading(count: number, seconds: number): Promise<number> {
  const x = random.uniform(key(3), [count]);
  const total = jit((y: Tensor) => y.sum());
  return median(() => total(x).item(), seconds);
}

function training(batch: number, time: number, seconds: number): Promise<number> {
  const config = llamaConfig("llama-tiny");
  const adam = optim.adamW();
  type Model = ReturnType<typeof llama>;
  let state = adam.init(llama(config).init(key(0)));
  const ids = random.integers(key(4), [batch, time], 0, config.vocabSize);
  const step = jit(
    ({ from, inputs }: { from: optim.AdamWState<Model>; inputs: Tensor }) => {
      const [value, grads] = valueAndGrad((m: Model) => loss(m, inputs, inputs))(from.model);
      return { value, after: adam.update(from, grads, { learningRate: 1e-3 }) };
    },
    { donate: ["from"] },
  );
  return median(async () => {
    const { value, after } = step({ from: state, inputs: ids });
    state = after;
    await value.item();
  }, seconds);
}

async function generation(seconds: number): Promise<number> {
  const model = llama(llamaConfig("llama-tiny")).init(key(0));
  const session = new Session(model, { overflow: "slide" });
  let token = await session.next([1]);
  const found = await median(async () => (token = await session.next([token])), seconds);
  session.dispose();
  for (const { tensor } of tree.tensors(model)) tensor.dispose();
  return found;
}
