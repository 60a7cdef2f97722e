/** `explain`, `profile` and `SINAN_EXPLAIN`: what they say is held against the plan, the clock and the arithmetic of the function. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import path from "node:path";
import { test } from "node:test";
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
import { explain, profile } from "../core/src/explain/index.ts";
import { onEachDevice } from "./devices.ts";

const root = path.resolve(import.meta.dirname, "..");

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
