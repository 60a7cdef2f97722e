/** Schedules and optimizers, in groups too, against PyTorch's own. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { onEachDevice } from "../../../tests/devices.ts";
import { ArgumentError, jit, optim, tensor, type Tensor, tree } from "../index.ts";

const { schedules, optimizers, peak, steps, begin, rates } = JSON.parse(
  readFileSync(new URL("../../../tests/fixtures/optim/cases.json", import.meta.url), "utf8"),
) as {
  readonly schedules: Readonly<Record<string, readonly number[]>>;
  readonly optimizers: Readonly<Record<string, readonly (readonly number[])[]>>;
  readonly peak: number;
  readonly steps: number;
  readonly begin: Readonly<Record<string, number[] | number[][]>>;
  readonly rates: readonly number[];
};

const ours: Readonly<Record<string, optim.Schedule>> = {
  constant: optim.constant(peak),
  "constant, warm-up 8": optim.constant(peak, { warmupSteps: 8 }),
  "linear, warm-up 8": optim.linear({ from: peak, to: peak / 4, steps, warmupSteps: 8 }),
  "cosine, warm-up 8": optim.cosine({ peak, steps, warmupSteps: 8 }),
  "wsd, warm-up 5": optim.wsd({ peak, steps, warmupSteps: 5, decaySteps: 10 }),
  "wsd of a root, warm-up 5": optim.wsd({ peak, steps, warmupSteps: 5, decaySteps: 10, decay: "sqrt" }),
  "one cycle": optim.oneCycle({ peak, steps }),
  "one cycle, a tenth up": optim.oneCycle({
    peak,
    steps,
    warmupSteps: 4,
    startFraction: 1 / 10,
    finalFraction: 1 / 1000,
  }),
};

for (const [name, expected] of Object.entries(schedules))
  test(`schedule: ${name} has PyTorch's rates`, () => {
    const schedule = ours[name];
    assert.ok(schedule, "one of ours");
    expected.forEach((rate, i) => {
      // PyTorch multiplies its way from rate to rate, and its last factor cannot be 0: 1e-12 of the peak.
      assert.ok(Math.abs(schedule(i + 1) - rate) < 1e-11, `step ${i + 1}: ${schedule(i + 1)}, not ${rate}`);
    });
  });

const groups = [
  { match: "a.weight", rateScale: 0.1, weightDecay: 0.2 },
  { match: /^a\./, rateScale: 0.1, weightDecay: 0 },
  { match: "c.**", frozen: true },
] as const;
const common = { weightDecay: 0.05 } as const;
const adam = { ...common, betas: [0.9, 0.98], epsilon: 1e-8 } as const;
const made: Readonly<Record<string, optim.AdamW | optim.Sgd>> = {
  adamW: optim.adamW(adam),
  "adamW in groups": optim.adamW({ ...adam, groups }),
  sgd: optim.sgd(common),
  "sgd with momentum": optim.sgd({ ...common, momentum: 0.9 }),
  "sgd with nesterov": optim.sgd({ ...common, momentum: 0.9, nesterov: true }),
  "sgd in groups": optim.sgd({ ...common, momentum: 0.9, nesterov: true, groups }),
};

type Model = Readonly<Record<string, Readonly<Record<string, Tensor>>>>;
const names = Object.keys(begin);
const modelOf = (values: Readonly<Record<string, number[] | number[][]>>): Model => {
  const model: Record<string, Record<string, Tensor>> = {};
  for (const [path, value] of Object.entries(values)) {
    const [group = "", name = ""] = path.split(".");
    (model[group] ??= {})[name] = tensor(value);
  }
  return model;
};

function gradientsOf(t: number): Model {
  let i = 0;
  const next = (): number => Math.sin(7 * t + 3 * i) * 10 ** ((i++ % 3) - 1);
  return modelOf(
    Object.fromEntries(
      Object.entries(begin).map(([k, value]) => [
        k,
        value.map((row) => (Array.isArray(row) ? row.map(next) : next())) as number[],
      ]),
    ),
  );
}

for (const [name, expected] of Object.entries(optimizers))
  onEachDevice(`optimizer: ${name} moves as PyTorch's, jitted`, async () => {
    const optimizer = made[name] as optim.AdamW;
    assert.ok(optimizer, "one of ours");
    const step = jit(
      ({ state, grads, rate }: { state: optim.AdamWState<Model>; grads: Model; rate: number }) =>
        optimizer.update(state, grads, { learningRate: rate }),
      { donate: ["state"] },
    );
    let state = optimizer.init(modelOf(begin));
    for (const [k, rate] of rates.entries()) {
      state = step({ state, grads: gradientsOf(k + 1), rate });
      const found = new Map(tree.tensors(state.model).map(({ path, tensor }) => [path, tensor]));
      const values: number[] = [];
      for (const path of names) values.push(...Array.from((await found.get(path)?.data()) ?? [], Number));
      const want = expected[k] as readonly number[];
      // Six steps in f32 beside f64.
      values.forEach((x, i) => {
        const expectation = want[i] as number;
        assert.ok(
          Math.abs(x - expectation) < 2e-6 * Math.max(1, Math.abs(expectation)),
          `step ${k + 1}, ${i}: ${x}, not ${expectation}`,
        );
      });
    }
  });

test("a group without a parameter is refused, and the paths are named", () => {
  for (const make of [optim.adamW, optim.sgd])
    assert.throws(
      () => make({ groups: [{ match: "a" }, { match: "layers.*.bias" }] }).init(modelOf(begin)),
      (error: unknown) =>
        error instanceof ArgumentError &&
        /groups\[1\]: no parameter matches layers\.\*\.bias\n {2}the parameters are .*a\.weight/s.test(error.message),
    );
  assert.throws(() => optim.adamW({ groups: [{ match: "a", rateScale: -1 }] }), /groups\[0\]\.rateScale/);
});

test("patterns: parts, any number of parts, beginnings of paths", () => {
  const model = { layers: [{ mlp: { up: tensor([1]), bias: tensor([1]) } }], bias: tensor([1]), "layer+": tensor([1]) };
  const frozen = (match: string): string[] => {
    const adam = optim.adamW({ groups: [{ match, frozen: true }] });
    return tree.tensors(model).flatMap(({ path, tensor }) => (adam.isFrozen(path, tensor) ? [path] : []));
  };
  assert.deepEqual(frozen("layers.*.mlp").sort(), ["layers.0.mlp.bias", "layers.0.mlp.up"]);
  assert.deepEqual(frozen("**.bias").sort(), ["bias", "layers.0.mlp.bias"]);
  assert.deepEqual(frozen("layers.**.up"), ["layers.0.mlp.up"]);
  assert.deepEqual(frozen("layers.mlp"), []);
  assert.deepEqual(frozen("layer"), []);
  assert.deepEqual(frozen("b*"), ["bias"]);
  assert.deepEqual(frozen("layer+"), ["layer+"]);
});
