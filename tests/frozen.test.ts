/** Weights that are packed once: the same bits as without, whatever the shapes; packed anew for other values and never otherwise. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compile } from "../core/src/compiler/compile.ts";
import { frozenPlan } from "../core/src/compiler/frozen-plan.ts";
import { explain } from "../core/src/explain/index.ts";
import {
  changeTier,
  device,
  footprint,
  frozen,
  jit,
  key,
  matmul,
  memory,
  nn,
  random,
  type Tensor,
  tensor,
  transpose,
  zeros,
} from "../core/src/index.ts";
import { print } from "../core/src/ir/print.ts";
import { group, hardware } from "../core/src/kernel/kernel.fixture.ts";
import { dot } from "../core/src/ops/build.ts";
import type { Artifact, Codegen } from "../core/src/runtime/driver.ts";
import { register } from "../core/src/runtime/registry.ts";
import { watch } from "../core/src/runtime/watch.ts";
import { callOf } from "../core/src/tensor/jit.ts";
import { Session } from "../north/llm/src/generate/session.ts";
import { llama, llamaConfig } from "../north/llm/src/index.ts";
import { noNative, onEachDevice } from "./devices.ts";

const same = async (got: Tensor, wanted: Tensor, what: string): Promise<void> =>
  assert.deepEqual(await got.data(), await wanted.data(), what);

/** Names of the programs that run meanwhile. */
async function ran(body: () => Promise<unknown>): Promise<string[]> {
  const names: string[] = [];
  const before = watch.by;
  watch.by = { event: () => {}, ran: ({ fn }) => names.push(fn.name) };
  try {
    await body();
  } finally {
    watch.by = before;
  }
  return names.filter((name) => name.startsWith("pack_"));
}

const linear = (x: Tensor, w: Tensor): Tensor => matmul(x, transpose(w));

onEachDevice("a product by frozen weights has the bits of one that packs them at each call", async () => {
  for (const [rows, columns, steps] of [
    [1, 70, 33],
    [8, 129, 64],
    [5, 3, 40],
    [29, 96, 100],
    [130, 64, 48],
  ] as const)
    for (const [f, shape] of [
      [linear, [columns, steps]],
      [matmul, [steps, columns]],
    ] as const) {
      const x = random.normal(key(1), [rows, steps]);
      const w = random.normal(key(2), shape);
      const what = `${rows} × ${columns} × ${steps}, weights [${shape.join(", ")}]`;
      await same(jit(f, { frozen: frozen(1) })(x, w), jit(f)(x, w), what);
    }
});

onEachDevice("convolutions by frozen weights too, in batches of two sizes by one model", async () => {
  const net = nn
    .sequential(
      nn.conv2d(3, 32, 3, { padding: 1 }),
      nn.relu,
      nn.conv2d(32, 40, 3, { stride: 2 }),
      nn.relu,
      (y: Tensor) => y.reshape([-1, 40 * 36]),
      nn.linear(40 * 36, 10),
    )
    .init(key(3));
  const infer = jit((m: typeof net, x: Tensor) => m(x), { frozen: frozen(0) });
  for (const batch of [1, 3]) {
    const x = random.normal(key(4), [batch, 3, 14, 14]);
    await same(infer(net, x), net(x), `a batch of ${batch}`);
  }
});

onEachDevice("other weights give other results at once, and each is packed once", async (_, on) => {
  const predict = jit(linear, { frozen: frozen(1) });
  const x = random.normal(key(5), [4, 64]);
  const [a, b] = [random.normal(key(6), [96, 64]), random.normal(key(7), [96, 64])];
  await a.data();
  await b.data();
  const plain = jit(linear);
  const packs = await ran(async () => {
    for (const w of [a, a, b, a, b]) await same(predict(x, w), plain(x, w), "in turn");
  });
  assert.equal(packs.length, on === "cpu" || on === "native" ? 2 : 0);
  a.assign(b.mul(2));
  await same(predict(x, a), plain(x, b.mul(2)), "after assign");
  b.dispose();
  assert.throws(() => predict(x, b));
});

onEachDevice("a session with frozen weights chooses the tokens of one without, as likely", async (_, on) => {
  const config = llamaConfig("llama-tiny", {
    vocabSize: 300,
    hiddenSize: 64,
    intermediateSize: 96,
    numHiddenLayers: 2,
  });
  const model = llama(config).init(key(9));
  const text = async (isFrozen: boolean): Promise<unknown[]> => {
    const session = new Session(model, { capacity: 64, frozen: isFrozen });
    const choices = [await session.step([[3, 1, 4]], { logprobs: 2 })];
    for (let i = 0; i < 5; i++)
      choices.push(await session.step([[choices.at(-1)?.[0]?.token ?? 0]], { logprobs: 2, temperature: 1, seed: 5 }));
    session.dispose();
    return choices;
  };
  const plain = await text(false);
  const packs = await ran(async () => {
    for (let i = 0; i < 2; i++) assert.deepEqual(await text(true), plain);
  });
  if (on === "cpu" || on === "native") assert.ok(packs.length >= 7, `${packs.length} weights packed`);
  assert.ok(packs.length <= 15, "each weight once");
});

onEachDevice("weights that the call donates or assigns are none that stay", async () => {
  const x = random.normal(key(8), [3, 40]);
  const step = jit((s: { x: Tensor; w: Tensor }) => ({ y: linear(s.x, s.w), w: s.w.mul(0.5) }), {
    donate: ["w"],
    frozen: frozen("w"),
  });
  const plain = jit((s: { x: Tensor; w: Tensor }) => ({ y: linear(s.x, s.w), w: s.w.mul(0.5) }));
  let [w, other] = [random.normal(key(9), [50, 40]), random.normal(key(9), [50, 40])];
  for (let i = 0; i < 3; i++) {
    const [got, wanted] = [step({ x, w }), plain({ x, w: other })];
    await same(got.y, wanted.y, `step ${i}`);
    [w, other] = [got.w, wanted.w];
  }
  const count = random.normal(key(10), [48, 40]);
  const counted = jit(
    (v: Tensor) => {
      const y = linear(v, count);
      count.assign(count.add(1));
      return y;
    },
    { frozen: frozen() },
  );
  const before = linear(x, count);
  const after = linear(x, count.add(1));
  await before.data();
  await after.data();
  await same(counted(x), before, "the first call");
  await same(counted(x), after, "the second call");
});

onEachDevice("what is captured stays, and its panels count as memory of the call", async (_, on) => {
  if (on === "interpreter" || on === "sim") return;
  const bytes = 4 * 512 * 512;
  const held = async (): Promise<number> => {
    const w = random.normal(key(11), [512, 512]);
    const predict = jit((x: Tensor) => linear(x, w), { frozen: frozen() });
    const x = zeros([1, 512]);
    await w.data();
    const call = callOf.get(predict);
    assert.ok(call);
    const { program, args } = call([x]);
    const plain = await footprint(
      jit((v: Tensor) => linear(v, w)),
      x,
    );
    assert.equal((await program.plan()).layout.values.filter((v) => v.input !== undefined).length, args.length + 1);
    assert.ok((await footprint(predict, x)).argumentBytes >= plain.argumentBytes + bytes);
    const { live } = memory();
    await predict(x).data();
    await predict(x).data();
    const more = memory().live - live;
    w.dispose();
    return more;
  };
  const said = await explain(jit(linear, { frozen: frozen(1) }), zeros([1, 512]), random.normal(key(14), [512, 512]));
  assert.match(said.toText("kernels"), /weights packed once/);
  const more = await held();
  assert.ok(more >= bytes && more < 2 * bytes, `${more} bytes`);
});

onEachDevice(
  "a plan for a device that takes graphs, or without products by frozen weights, stays as it is",
  async () => {
    const sum = jit((x: Tensor, w: Tensor) => x.add(w), { frozen: frozen(1) });
    const call = callOf.get(sum);
    assert.ok(call);
    const { program, args } = call([tensor([1, 2]), tensor([3, 4])]);
    const plan = await program.plan();
    const { hardware } = program.stream;
    assert.ok(hardware);
    assert.equal(frozenPlan(plan, args.length, hardware, new Set([1])).plan, plan);
    assert.deepEqual([...(await sum(tensor([1, 2]), tensor([3, 4])).data())], [4, 6]);
  },
);

test("a call goes on with what it packed when the device changes its tier", { skip: noNative }, async () => {
  await device("cpu");
  const predict = jit(linear, { frozen: frozen(1) });
  const [x, w] = [random.normal(key(12), [4, 40]), random.normal(key(13), [33, 40])];
  const plain = jit(linear);
  await same(predict(x, w), plain(x, w), "in WebAssembly");
  assert.equal((await changeTier("native")).tier, "native");
  const packs = await ran(async () => {
    for (let i = 0; i < 2; i++) await same(predict(x, w), plain(x, w), "in the native tier");
  });
  assert.equal(packs.length, 1);
});

test("kernels by frozen weights are found again where others are", () => {
  const found = new Map<string, Artifact>();
  let made = 0;
  const codegen: Codegen = {
    name: "kept",
    level: "loops",
    render: ({ name }) => ({ codegen: "kept", name, code: String(made++), scratchBytes: 0 }),
    cached: (fn, _, tuning, make) => {
      const asked = `${tuning} ${print(fn, false)}`;
      const artifact = found.get(asked) ?? make();
      found.set(asked, artifact);
      return { ...artifact };
    },
  };
  register({ codegen });
  const product = group(
    [
      ["f32", [4, 40]],
      ["f32", [40, 33]],
    ],
    (x, w) => dot(x, w, { contract: [[1], [0]], batch: [[], []] }),
  );
  const codes = ["one", "another"].map((process) => {
    const model = { ...hardware, id: process, codegens: [codegen.name] };
    const { plan, packed } = frozenPlan(compile(product, model), 2, model, new Set([1]));
    return [...plan.artifacts, ...packed.map(({ artifact }) => artifact)].map(({ name, code }) => [name, code]);
  });
  assert.equal(codes[0]?.length, 2);
  assert.deepEqual(codes[1], codes[0]);
  assert.equal(made, 3, "the whole product, the one by panels, and what packs them");
});
