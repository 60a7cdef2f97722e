/** `explain`, `profile` and `SINAN_EXPLAIN`: what they say is held against the plan, the clock and the arithmetic of the function. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import path from "node:path";
import { test } from "node:test";
import * as s from "../core/src/index.ts";
import {
  device,
  footprint,
  grad,
  jit,
  key,
  matmul,
  nn,
  random,
  type Tensor,
  tensor,
  zeros,
} from "../core/src/index.ts";
import { explain, type KernelProfile, profile, startProfile } from "../core/src/explain/index.ts";
import { placeOf } from "../core/src/explain/place.ts";
import { profileText } from "../core/src/explain/profile-text.ts";
import { newTally } from "../core/src/explain/time.ts";
import { onEachDevice } from "./devices.ts";

const root = path.resolve(import.meta.dirname, "..");

test("a convolution's operations are those of its window, for each element of the result", async () => {
  const { kernels } = await explain((x: Tensor, w: Tensor) => s.conv2d(x, w), zeros([2, 3, 9, 8]), zeros([5, 3, 3, 2]));
  assert.equal(
    kernels.reduce((sum, { flops }) => sum + flops, 0),
    2 * (2 * 5 * 7 * 7) * (3 * 3 * 2),
  );
});

test("the derivatives of a convolution with padding are as much work as it is", async () => {
  const of = (x: Tensor, w: Tensor): Tensor => s.conv2d(x, w, { padding: 1 }).mul(2).sum();
  const { kernels } = await explain(
    (x: Tensor, w: Tensor) => s.grad((both: readonly Tensor[]) => of(both[0] as Tensor, both[1] as Tensor))([x, w]),
    zeros([2, 8, 4, 4]),
    zeros([8, 8, 3, 3]),
  );
  const each = 2 * (2 * 8 * 4 * 4) * (8 * 3 * 3);
  const heavy = kernels.filter(({ flops }) => flops >= each / 2).map(({ flops }) => flops);
  assert.equal(heavy.length, 2);
  for (const flops of heavy) assert.ok(flops <= 1.1 * each, `${flops} of ${each}`);
});

interface TraceEvent {
  readonly name: string;
  readonly cat?: string;
  readonly ph: string;
  readonly tid: number;
  readonly ts?: number;
  readonly dur?: number;
}

const eventsOf = (trace: string): readonly TraceEvent[] =>
  (JSON.parse(trace) as { readonly traceEvents: readonly TraceEvent[] }).traceEvents;

const layer = (x: Tensor, w: Tensor): Tensor => matmul(x, w).add(1);

onEachDevice("explain names kernels, their lines, their work and the memory of a plan", async (_, on) => {
  const [x, w] = [random.normal(key(1), [64, 48]), random.normal(key(2), [48, 32])];
  const before = Array.from(await x.data(), Number);
  const step = jit(layer, { donate: [0] });
  const said = await explain(step, x, w);
  assert.equal(said.name, "layer");
  const dot = said.kernels.find(({ name }) => name === "dot_64x32x48");
  assert.ok(dot, said.toText("kernels"));
  assert.equal(dot.flops, 2 * 64 * 32 * 48 + 64 * 32);
  assert.equal(dot.bytes, 4 * (64 * 48 + 48 * 32 + 64 * 32));
  assert.match(dot.sites.join(" "), /explain\.test\.ts:\d+/);
  assert.deepEqual(said.memory, await footprint(step, x, w));
  const [traced, ...passes] = said.passes;
  assert.match(traced?.text ?? "", /fn @layer\(.*dot\(%0, %1\)/s);
  assert.ok(passes.some(({ name }) => name === "fuse"));
  // It may be called again: nothing was donated.
  assert.deepEqual(Array.from(await x.data(), Number), before);
  if (on !== "cpu") return;
  assert.ok(said.peak && said.peak.flopsPerSecond > 1e8 && said.peak.bytesPerSecond > 1e8);
  assert.ok(dot.schedule.includes("vectorize 4"), dot.schedule.join(", "));
  for (const { name, milliseconds } of said.kernels) assert.ok((milliseconds ?? 0) > 0, name);
  assert.match(said.toText("time"), /dot_64x32x48 .* %/);
});

test("a softmax, its gradient and a norm are folds over rows", async () => {
  await device("cpu");
  const x = random.normal(key(2), [64, 48]);
  const schedules = async (f: (x: Tensor) => Tensor): Promise<readonly (readonly string[])[]> =>
    (await explain(f, x)).kernels.map(({ schedule }) => schedule);
  const square = (y: Tensor): Tensor => y.square().sum();
  for (const f of [s.softmax, grad((v: Tensor) => square(s.softmax(v))), nn.layerNorm(48).init(key(0))]) {
    const all = await schedules(f);
    assert.match(all.at(-1)?.[0] ?? "", /^fold of 64 rows in [2-6] passes$/);
  }
  assert.equal((await schedules((v) => v.sum(1))).flat().join().includes("fold"), false);
});

test("kernels of modules say which module they are in", async () => {
  await device("cpu");
  const model = nn.sequential(nn.linear(8, 4), nn.linear(4, 2)).init(key(0));
  const { kernels } = await explain((x: Tensor) => model(x), zeros([4, 8]));
  const sites = kernels.flatMap((k) => k.sites).join("\n");
  assert.match(sites, /explain\.test\.ts:\d+:\d+ in sequential\.layers\.1/);
});

test("a trace has a track a thread, and no thread does two things at once", async () => {
  await device("cpu", { options: { threads: 2, grain: 1000 } });
  const [a, b] = [random.normal(key(1), [256, 256]), random.normal(key(2), [256, 256])];
  await a.data();
  await b.data();
  const product = jit(matmul);
  await product(a, b).data();
  const started = performance.timeOrigin + performance.now();
  const { result, trace, kernels } = await profile(async () => {
    let c = a;
    for (let i = 0; i < 20; i++) c = product(c, b.mul(1 / 256));
    return (await c.data()).length;
  });
  const took = performance.timeOrigin + performance.now() - started;
  assert.equal(result, 256 * 256);
  const dot = kernels.find(({ name }) => name === "dot_256x256x256");
  assert.equal(dot?.launches, 20);
  assert.ok((dot?.milliseconds ?? 0) <= took, `${dot?.milliseconds} of ${took} ms`);
  const events = eventsOf(trace);
  const work = events.filter(({ cat }) => cat === "kernel");
  assert.ok(new Set(work.map(({ tid }) => tid)).has(1), "the first worker has done something");
  assert.ok(events.some(({ name, ph }) => ph === "M" && name === "thread_name"));
  for (const tid of new Set(work.map((e) => e.tid))) {
    const own = work.filter((e) => e.tid === tid).sort((p, q) => (p.ts ?? 0) - (q.ts ?? 0));
    own.forEach(({ ts = 0 }, i) => {
      const last = own[i - 1];
      // Microseconds: the clock's steps.
      assert.ok(!last || (last.ts ?? 0) + (last.dur ?? 0) <= ts + 10, `thread ${tid} at ${ts}`);
    });
  }
  const reads = events.filter(({ cat }) => cat === "read");
  assert.deepEqual(new Set(reads.map(({ ph }) => ph)), new Set(["b", "e"]));
});

test("a profile shows compilation once, and ends with its body", async () => {
  await device("cpu", { options: { threads: 1 } });
  const f = jit((x: Tensor) => grad((v: Tensor) => v.tanh().sum())(x).mul(3));
  const x = tensor([1, 2, 3]);
  const passes = async (): Promise<string[]> => {
    const { trace } = await profile(async () => f(x).data());
    return eventsOf(trace).flatMap(({ cat, name }) => (cat === "pass" ? [name] : []));
  };
  const first = await passes();
  assert.ok(first.includes("absorb") && first.some((name) => name.startsWith("kernel ")), first.join());
  assert.deepEqual(await passes(), []);
  await assert.rejects(
    profile(() => Promise.reject(new Error("the body's own"))),
    /the body's own/,
  );
  assert.equal(eventsOf((await profile(async () => 0)).trace).length, 0);
});

test("a profile knows the work of kernels that were compiled before it, and their modules, of derivatives too", async () => {
  await device("cpu");
  const model = nn.sequential(nn.linear(32, 48), nn.linear(48, 16)).init(key(0));
  const x = random.normal(key(1), [64, 32]);
  const step = jit((m: typeof model) => grad((p: typeof model) => p(x).square().sum())(m));
  const run = async (): Promise<void> => {
    const [first] = Object.values(nn.namedParameters(step(model)));
    await first?.data();
  };
  await run();
  const { kernels, devices, milliseconds, toText } = await profile(async () => {
    for (let i = 0; i < 3; i++) await run();
  });
  const backward = kernels.find(({ name }) => name === "dot_48x32x64");
  assert.ok(backward, kernels.map(({ name }) => name).join());
  assert.equal(backward.launches, 3);
  assert.equal(backward.flops, 2 * 48 * 32 * 64);
  assert.equal(backward.bytes, 4 * (48 * 64 + 32 * 64 + 48 * 32));
  assert.equal(backward.module, "sequential.layers.0");
  assert.match(backward.line ?? "", /^explain\.test\.ts:\d+$/);
  const rate = (backward.flops * 3 * 1000) / backward.milliseconds;
  assert.ok(Math.abs(backward.flopsPerSecond / rate - 1) < 1e-9);
  const [cpu] = devices;
  assert.ok(cpu?.peak && backward.ofRoofline !== undefined);
  const least = Math.max(backward.flops / cpu.peak.flopsPerSecond, backward.bytes / cpu.peak.bytesPerSecond);
  assert.ok(Math.abs(backward.ofRoofline / ((3000 * least) / backward.milliseconds) - 1) < 1e-9);
  assert.ok(Math.abs(kernels.reduce((sum, k) => sum + k.share, 0) - 1) < 1e-9);
  assert.ok(kernels.reduce((sum, k) => sum + k.milliseconds, 0) <= milliseconds * 1.01);
  assert.match(toText(), /^profile: .*\ncpu, .*roofline .* GFLOP\/s/);
});

test("device.profile is profile, and a device is opened as before", async () => {
  const hardware = await device("cpu", { options: { threads: 1 } });
  assert.equal(hardware.threads, 1);
  const f = jit((x: Tensor) => x.mul(3).tanh(), { name: "thrice" });
  const { result, kernels } = await device.profile(async () => (await f(zeros([17])).data()).length);
  assert.equal(result, 17);
  assert.equal(kernels.find(({ name }) => name === "tanh_mul_17")?.launches, 1);
  await assert.rejects(
    device.profile(() => Promise.reject(new Error("the body's own"))),
    /the body's own/,
  );
});

test("a profile that is begun and ended by hand hears every device, and keeps as many spans as it is told", async () => {
  await device("interpreter");
  const profiling = startProfile({ spans: 5 });
  await device("cpu", { options: { threads: 1 } });
  const f = jit((x: Tensor) => x.mul(2).tanh(), { name: "twice" });
  let x = zeros([16]);
  for (let i = 0; i < 10; i++) x = f(x);
  await x.data();
  const report = profiling.stop();
  assert.deepEqual(
    report.devices.map(({ id }) => id),
    ["cpu"],
  );
  assert.equal(report.kernels.find(({ name }) => name === "tanh_mul_16")?.launches, 10);
  assert.equal(report.kernels[0]?.ofRoofline, undefined, "nothing was measured");
  assert.equal(eventsOf(report.trace).filter(({ cat }) => cat === "kernel").length, 5);
  assert.match(report.trace, /spans came after/);
  await f(x).data();
  assert.equal(profiling.stop().kernels.find(({ name }) => name === "tanh_mul_16")?.launches, 10, "it has ended");
});

test("launches are put together of the spans of threads, however many there are", () => {
  const tally = newTally();
  const [a, b] = [{ name: "a" }, { name: "b" }];
  for (let launch = 0; launch < 20_000; launch++)
    for (const thread of [0, 1])
      tally.add({
        executable: launch % 2 ? a : b,
        thread,
        launch,
        begin: launch + thread / 4,
        end: launch + 0.5 + thread / 4,
      });
  const times = tally.times();
  assert.deepEqual([times.get(a)?.count, times.get(b)?.count], [10_000, 10_000]);
  assert.deepEqual([times.get(a)?.total, times.get(a)?.least], [7500, 0.75]);
});

test("the place of a kernel is a module and a line; where there are several, what they share", () => {
  const at = (...sites: string[]) => placeOf(sites);
  assert.deepEqual(at("a/b/model.ts:41:18 in blocks.3.mlp.up"), { module: "blocks.3.mlp.up", line: "model.ts:41" });
  assert.deepEqual(at("m.ts:4:1 in blocks.0.up", "m.ts:4:1 in blocks.11.up"), {
    module: "blocks.*.up",
    line: "m.ts:4",
  });
  assert.deepEqual(at("m.ts:4:1 in q", "m.ts:5:1 in k", "m.ts:5:9 in v"), { module: "q +2", line: "m.ts:4 +1" });
  assert.deepEqual(at("m.ts:4:1"), { module: undefined, line: "m.ts:4" });
  assert.deepEqual(at(), { module: undefined, line: undefined });
});

test("the table of a profile fits 80 columns, and says more where there are more", () => {
  const kernel = (i: number): KernelProfile => ({
    name: `dot_add_gelu_512x${i}x784`,
    module: `transformer.encoder.blocks.${i}.feed_forward.up`,
    line: "model.ts:41",
    device: "cpu",
    launches: 1200 * i,
    milliseconds: 1e5 / i,
    share: 1 / i,
    flops: 1e9,
    bytes: 1e6,
    sites: [],
    flopsPerSecond: 103.4e9,
    bytesPerSecond: 57.12e9,
    ofRoofline: 0.99,
    bound: "compute",
  });
  const kernels = Array.from({ length: 30 }, (_, i) => kernel(i + 1));
  const peak = { flopsPerSecond: 110e9, bytesPerSecond: 60e9 };
  const report = {
    milliseconds: 1e6,
    compileMilliseconds: 2000,
    devices: [{ id: "cpu", threads: 2, peak, isTraced: true }],
    kernels,
  };
  for (const width of [64, 80, 100, 120, 160, 240]) {
    const lines = profileText(report, { width, rows: 7 }).trimEnd().split("\n");
    assert.equal(lines.length, 2 + 1 + 7 + 1);
    assert.ok(Math.max(...lines.map((l) => l.length)) <= width, lines.join("\n"));
    assert.match(lines.at(-1) ?? "", /^\+ 23 more/);
    const first = lines[3] ?? "";
    assert.match(first, /^dot_.* 1200 100000 .*100 % .* 99 %/, first);
    assert.match(first, width >= 120 ? /up model\.ts:41 .* compute$/ : /…\S*\.up /, first);
  }
  const none = { ...report, kernels: [], devices: [{ id: "x", threads: 1, peak: undefined, isTraced: false }] };
  assert.match(profileText(none), /x, one thread: does not tell what it does when/);
});

test("SINAN_EXPLAIN explains a program from outside, and says what it does not know", () => {
  const program = `import { jit, ones } from "sinan"; console.log(await jit((x) => x.exp().sum(), { name: "total" })(ones([1024])).item());`;
  const run = (asked: string) =>
    spawnSync(process.execPath, ["--input-type=module", "-e", program], {
      cwd: root,
      encoding: "utf8",
      env: { ...process.env, SINAN_EXPLAIN: asked },
    });
  const all = run("1");
  assert.equal(all.status, 0, all.stderr);
  assert.match(all.stdout, /^2783\.5/);
  assert.match(all.stderr, /total on cpu/);
  for (const part of [/^passes$/m, /^kernels$/m, /^memory: /m, /^time: .* ms/m, /fn @total/])
    assert.match(all.stderr, part);
  const some = run("kernels");
  assert.match(some.stderr, /^kernels$/m);
  assert.doesNotMatch(some.stderr, /^passes$/m);
  const wrong = run("colours");
  assert.notEqual(wrong.status, 0);
  assert.match(wrong.stderr, /SINAN_EXPLAIN: there is no section "colours"/);
});
