/** Tuned programs: any choice computes what the heuristic's does, plans know of a tuning only where they are asked to, and a process may
 *  be given one from outside. What is faster is told by benches of the test's own: no test depends on a clock. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { groupOf } from "../core/src/compiler/kernels.ts";
import { explain } from "../core/src/explain/index.ts";
import { device, jit, key, matmul, nn, random, type Tensor } from "../core/src/index.ts";
import { callOf } from "../core/src/tensor/jit.ts";
import { decisionsOf, neighbours } from "../core/src/tune/choices.ts";
import { type TuningEntry, parseTuning, tune, tunePrograms, tuningText } from "../core/src/tune/index.ts";
import { tuningFile } from "../core/src/tune/file.ts";
import { type BenchFor, benchKernel } from "../core/src/tune/measure.ts";
import { planOf } from "../north/train/src/saved.ts";

const root = path.resolve(import.meta.dirname, "..");
const folder = mkdtempSync(path.join(tmpdir(), "sinan-tune-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const layer = (x: Tensor, w: Tensor): Tensor => nn.gelu(matmul(x, w)).sum(0);
const [x, w] = [random.normal(key(1), [40, 48]), random.normal(key(2), [48, 37])];

async function programOf(f: (x: Tensor, w: Tensor) => Tensor) {
  const call = callOf.get(f);
  assert.ok(call);
  const { program } = call([x, w]);
  await program.loaded();
  return program;
}

/** A bench where four rows are fast, and all else is as slow as it has decisions. */
const fourRows =
  (tried: string[]): BenchFor =>
  (group) =>
    Promise.resolve({
      prepare: (list) =>
        Promise.resolve(
          list.map((choices) => {
            tried.push(`${group.name} ${JSON.stringify(choices)}`);
            const ms = (choices["rows"] === 4 ? 1 : 2) + Object.keys(choices).length / 100;
            return { choices, agreement: "same bits", time: () => Promise.resolve(ms) };
          }),
        ),
      close: () => {},
    });

test("a program is compiled by a tuning where jit is told to, with the same bits, and by the heuristics everywhere else", async () => {
  await device("cpu", { options: { threads: 1 } });
  const plain = jit(layer);
  const program = await programOf(plain);
  const tried: string[] = [];
  const seen: string[] = [];
  const tuning = await tunePrograms(
    [{ program, times: new Map() }],
    { kernels: 9, onProgress: ({ name, at, of }) => seen.push(`${name} ${at} ${of}`) },
    fourRows(tried),
  );
  const dot = tuning.entries.find(({ name }) => name.startsWith("dot_40x37"));
  assert.deepEqual(dot?.choices, { rows: 4 });
  assert.deepEqual([dot.milliseconds, dot.sameBits], [[2, 1.01], true]);
  assert.ok(tuning.entries.every(({ name, choices }) => name === dot.name || Object.keys(choices).length === 0));
  assert.ok(seen.length > 0 && tried.includes(`${dot.name} {"rows":4,"vectors":3}`));
  // The same candidates in the same order.
  const once: string[] = [];
  await tunePrograms([{ program, times: new Map() }], { kernels: 9 }, fourRows(once));
  assert.deepEqual(once, tried);

  const fast = jit(layer, { tune: parseTuning(tuningText(tuning), "kept") });
  assert.deepEqual(await fast(x, w).data(), await plain(x, w).data());
  const rowsOf = async (f: typeof plain) =>
    (await explain(f, x, w)).kernels.flatMap(({ choices }) => choices.filter(({ name }) => name === "rows"));
  assert.deepEqual(await rowsOf(fast), [{ name: "rows", value: 4, heuristic: 6 }]);
  assert.deepEqual(await rowsOf(plain), [{ name: "rows", value: 6, heuristic: 6 }]);
  assert.match((await explain(fast, x, w)).toText("kernels"), /rows 4 \(tuned, not 6\), vectors 2/);
});

test("what is known is kept and not searched again, a search that is ended keeps what it has, and one of no time finds nothing", async () => {
  await device("cpu", { options: { threads: 1 } });
  const program = await programOf(jit(layer));
  const times = new Map<never, never>();
  const tried: string[] = [];
  const first = await tunePrograms([{ program, times }], { kernels: 1 }, fourRows(tried));
  assert.equal(first.entries.length, 1);
  const before = tried.length;
  const again = await tunePrograms([{ program, times }], { kernels: 9, known: first }, fourRows(tried));
  assert.ok(again.entries.length > 1);
  assert.ok(tried.slice(before).every((t) => !t.startsWith(`${first.entries[0]?.name} `)));
  const renewed = await tunePrograms([{ program, times }], { kernels: 1, known: first, again: true }, fourRows(tried));
  assert.deepEqual(renewed.entries, first.entries);
  const ended = new AbortController();
  const kept: TuningEntry[] = [];
  const some = await tunePrograms(
    [{ program, times }],
    { kernels: 9, signal: ended.signal, onFound: (entry) => (kept.push(entry), ended.abort()) },
    fourRows([]),
  );
  assert.deepEqual(some.entries, kept);
  assert.equal(kept.length, 1);
  assert.equal((await tunePrograms([{ program, times }], { seconds: 0 }, fourRows([]))).entries.length, 0);
});

test("a schedule that computes something else is never taken; other last bits only where they are asked for", async () => {
  await device("cpu", { options: { threads: 1 } });
  const program = await programOf(jit(layer));
  const always =
    (agreement: "wrong" | "other bits"): BenchFor =>
    () =>
      Promise.resolve({
        prepare: (list) =>
          Promise.resolve(
            list.map((choices) => {
              const isPlain = Object.keys(choices).length === 0;
              return {
                choices,
                agreement: isPlain ? "same bits" : agreement,
                time: () => Promise.resolve(isPlain ? 2 : 1),
              };
            }),
          ),
        close: () => {},
      });
  const found = async (agreement: "wrong" | "other bits", reorder: boolean) =>
    (await tunePrograms([{ program, times: new Map() }], { kernels: 9, reorder }, always(agreement))).entries.filter(
      ({ choices }) => Object.keys(choices).length > 0,
    );
  assert.deepEqual(await found("wrong", true), []);
  assert.deepEqual(await found("other bits", false), []);
  const others = await found("other bits", true);
  assert.ok(others.length > 0 && others.every(({ sameBits }) => !sameBits));
});

test("every choice near the heuristic's computes the same bits on the device, and sums in another order nearly the same", async () => {
  await device("cpu", { options: { threads: 1 } });
  const program = await programOf(jit(layer));
  const { plan } = await program.loaded();
  const { hardware } = program.stream.device;
  let count = 0;
  for (const artifact of plan.artifacts) {
    const group = groupOf(artifact);
    if (!group) continue;
    const bench = await benchKernel(group, program.stream);
    const list = [{}, ...neighbours({}, decisionsOf(group, hardware, {}), { hardware, reorder: true })];
    for (const made of await bench.prepare(list)) {
      if (!made) continue;
      count++;
      assert.equal(made.agreement, "parts" in made.choices ? "other bits" : "same bits", JSON.stringify(made.choices));
    }
    bench.close();
  }
  assert.ok(count > 20, `only ${count}`);
});

test("tune searches on the device itself, and leaves its arguments as they are", async () => {
  await device("cpu", { options: { threads: 1 } });
  const before = await x.data();
  const step = jit(layer, { donate: [0] });
  const tuning = await tune(step, [x, w], { seconds: 0.3 });
  for (const { sameBits } of tuning.entries) assert.ok(sameBits);
  assert.deepEqual(await x.data(), before);
  assert.deepEqual(await jit(layer, { tune: tuning })(x, w).data(), await jit(layer)(x, w).data());
});

test("SINAN_TUNING tunes a process, its numeric plan says so, and a damaged file ends it", async () => {
  const program = await (async () => {
    await device("cpu");
    return programOf(jit(layer));
  })();
  const tuning = await tunePrograms([{ program, times: new Map() }], { kernels: 9 }, fourRows([]));
  const file = path.join(folder, "tuning.json");
  writeFileSync(file, tuningText(tuning));
  const source = `import { currentTuning, jit, key, matmul, nn, random } from "sinan";
const layer = (x, w) => nn.gelu(matmul(x, w)).sum(0);
await jit(layer)(random.normal(key(1), [40, 48]), random.normal(key(2), [48, 37])).data();
console.log(currentTuning());`;
  const run = (SINAN_TUNING: string) =>
    spawnSync(process.execPath, ["--input-type=module", "-e", source], {
      cwd: root,
      encoding: "utf8",
      env: { ...process.env, SINAN_TUNING, SINAN_EXPLAIN: "kernels" },
    });
  const tuned = run(file);
  assert.equal(tuned.status, 0, tuned.stderr);
  assert.equal(tuned.stdout.trim(), tuning.hash);
  assert.match(tuned.stderr, /rows 4 \(tuned, not 6\)/);
  const { hardware } = program.stream.device;
  assert.equal(planOf(hardware, tuning.hash)["tuning"], tuning.hash);
  assert.ok(!("tuning" in planOf(hardware)));
  writeFileSync(file, readFileSync(file, "utf8").replace('"rows":4', '"rows":5'));
  const damaged = run(file);
  assert.notEqual(damaged.status, 0);
  assert.match(damaged.stderr, /FormatError: SINAN_TUNING=.*tuning\.json: its digest is not that of its entries/);
  assert.match(run(path.join(folder, "none.json")).stderr, /ArgumentError: SINAN_TUNING=.*ENOENT/);
});

test("a tuning of another machine changes nothing", async () => {
  await device("cpu", { options: { threads: 1 } });
  const program = await programOf(jit(layer));
  const tuning = await tunePrograms([{ program, times: new Map() }], { kernels: 9 }, fourRows([]));
  const other = tuningFile(tuning.entries.map((e) => ({ ...e, hardware: `${e.hardware}, of tomorrow` })));
  const { kernels } = await explain(jit(layer, { tune: other }), x, w);
  assert.ok(kernels.every(({ choices }) => choices.every(({ value, heuristic }) => value === heuristic)));
});
