import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { ArgumentError, CheckpointError, FileError, FormatError } from "../errors.ts";
import {
  type Checkpoint,
  type CheckpointContent,
  latestCheckpoint,
  loadCheckpoint,
  openCheckpoints,
} from "./checkpoint.ts";
import type { Files } from "./files.ts";
import { type Choose, memoryFiles, type MemoryFiles, PowerLoss } from "./memory-files.ts";
import type { StoredTensor } from "./safetensors.ts";

const dir = "out/run";

/** A small training state that differs in every byte from step to step. */
function state(step: number): CheckpointContent {
  const tensor = (n: number, salt: number): StoredTensor => {
    const data = Uint8Array.from({ length: 4 * n }, (_, i) => step * 31 + i * 7 + salt);
    return { dtype: "f32", shape: [n], data };
  };
  return {
    step,
    tensors: { model: { "embed.weight": tensor(9, 1), "norm.weight": tensor(3, 2) }, optimizer: { m: tensor(12, 3) } },
    documents: { config: { hidden_size: 8, step } },
    blobs: { "tokenizer.json": `{"step": ${step}}`, "raw.bin": Uint8Array.of(step, 255, 0) },
    meta: { key: [step, 2 ** 31, 0.1], epoch: null },
  };
}

const bytesOf = (tensors: Iterable<[string, StoredTensor]>): unknown =>
  [...tensors]
    .map(([name, { dtype, shape, data }]) => [name, dtype, [...shape], String(data)])
    .sort(([a], [b]) => (String(a) < String(b) ? -1 : 1));

/** All of a checkpoint as plain data, so that two can be compared bit for bit. */
function plain({ step, tensors, documents, blobs, meta }: CheckpointContent | Checkpoint): unknown {
  const groups = Object.entries(tensors).map(([group, content]) => {
    const entries = content instanceof Map ? content : Object.entries(content as Record<string, StoredTensor>);
    return [group, bytesOf(entries as Iterable<[string, StoredTensor]>)];
  });
  const rest = Object.entries(blobs ?? {}).map(([name, blob]) => [name, typeof blob === "string" ? blob : [...blob]]);
  return { step, groups, documents, rest, meta };
}

const equal = (actual: Checkpoint | null, expected: CheckpointContent): void => {
  assert.deepEqual(actual && plain(actual), plain(expected));
};

const silent = { onWarning: () => undefined };

/** Names of the visible entries: no lock, nothing temporary. */
const names = async (files: Files): Promise<string[]> => (await files.list(dir)).filter((name) => name !== ".lock");

/** A directory with checkpoints of steps 20 and 40, closed. */
async function withTwo(files: Files, keep = 2): Promise<void> {
  const store = await openCheckpoints(files, dir, { keep });
  await store.save(state(20));
  await store.save(state(40));
  await store.close();
}

test("what is saved comes back as it was given, by latest, by name and by path", async () => {
  const files = memoryFiles();
  const store = await openCheckpoints(files, dir);
  assert.equal(await store.latest(), null);
  assert.equal(await store.save(state(20)), "out/run/step-00000020");
  await store.save(state(40));
  equal(await store.latest(), state(40));
  equal(await store.load("step-00000020"), state(20));
  equal(await store.load("out/run/step-00000020"), state(20));
  equal(await loadCheckpoint(files, "out/run/step-00000020"), state(20));
  equal(await loadCheckpoint(files, dir), state(40));
  assert.equal((await store.latest())?.name, "step-00000040");
  assert.deepEqual(await files.list("out/run/step-00000040"), [
    "config.json",
    "manifest.json",
    "model.safetensors",
    "optimizer.safetensors",
    "raw.bin",
    "tokenizer.json",
  ]);
});

test("only the groups that are asked for are read", async () => {
  const files = memoryFiles();
  await withTwo(files);
  await files.remove(`${dir}/step-00000040/optimizer.safetensors`);
  const model = await loadCheckpoint(files, `${dir}/step-00000040`, { groups: ["model"] });
  assert.deepEqual(Object.keys(model.tensors), ["model"]);
});

test("the newest `keep` stay; newest means saved last, whatever the step", async () => {
  const files = memoryFiles();
  const store = await openCheckpoints(files, dir, { keep: 2 });
  for (const step of [20, 40, 60]) await store.save(state(step));
  assert.deepEqual(await names(files), ["step-00000040", "step-00000060"]);
  await store.save(state(40)); // a run that went back
  assert.deepEqual(await names(files), ["step-00000040.1", "step-00000060"]);
  assert.equal((await store.latest())?.name, "step-00000040.1");
  await store.save(state(50));
  await store.close();
  const again = await openCheckpoints(files, dir, { keep: 1 });
  equal(await again.latest(), state(50));
  await again.save(state(10));
  assert.deepEqual(await names(files), ["step-00000010"]);
  assert.equal((await again.latest())?.step, 10);
});

const mulberry = (seed: number): Choose => {
  let a = seed;
  return (count) => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % count;
  };
};
const losses: Choose[] = [() => 0, (count) => count - 1, ...[1, 2, 3, 4, 5, 6].map(mulberry)];

/** Cuts the power before every storage step of a save, with each choice of what is lost, and starts again. Returns the
 *  violations: cases in which the newest valid checkpoint is neither the one before nor the new one. */
async function powerLossSweep(
  door: (files: MemoryFiles) => Files,
  before: number[],
  keep: number,
): Promise<{ cases: number; violations: string[] }> {
  const violations: string[] = [];
  let cases = 0;
  const allowed = [before.at(-1), 60].map((step) => (step === undefined ? "null" : JSON.stringify(plain(state(step)))));
  for (const [i, lose] of losses.entries()) {
    for (let cut = 0; ; cut++) {
      const files = memoryFiles();
      const store = await openCheckpoints(door(files), dir, { keep });
      for (const step of before) await store.save(state(step));
      const first = files.steps;
      files.fault = ({ index }) => (index === first + cut ? "crash" : undefined);
      const saved = await store.save(state(60)).then(
        () => true,
        (error: unknown) => {
          assert.ok(error instanceof PowerLoss, String(error));
          return false;
        },
      );
      files.fault = undefined;
      files.crash(lose);
      cases++;
      const found = await openCheckpoints(files, dir, { keep, ...silent })
        .then(async (again) => {
          const latest = await again.latest();
          assert.deepEqual(
            (await names(files)).filter((name) => name.startsWith(".")),
            [],
          );
          await again.save(state(80));
          equal(await again.latest(), state(80));
          return latest === null ? "null" : JSON.stringify(plain(latest));
        })
        .catch((error: unknown) => `throws ${String(error)}`);
      const good = saved ? found === allowed[1] : allowed.includes(found);
      if (!good) violations.push(`cut ${cut}, choice ${i}: ${found.slice(0, 120)}`);
      if (saved) break;
    }
  }
  return { cases, violations };
}

for (const [before, keep] of [
  [[], 2],
  [[20], 1],
  [[20, 40], 1],
  [[20, 40], 2],
] as const) {
  test(`power loss at every step of a save after [${before.join(", ")}], keep ${keep}: the old or the new one is whole`, async () => {
    const { cases, violations } = await powerLossSweep((files) => files, [...before], keep);
    assert.ok(cases > 150, `${cases} cases`);
    assert.deepEqual(violations, []);
  });
}

test("the sweep would notice a save that does not sync its directory, or the one above", async () => {
  const without =
    (skip: (path: string) => boolean) =>
    (files: MemoryFiles): Files => ({
      ...files,
      fsyncDirectory: (path) => (skip(path) ? Promise.resolve() : files.fsyncDirectory(path)),
    });
  for (const skip of [(path: string) => path.includes(".tmp-"), (path: string) => path === dir]) {
    const { violations } = await powerLossSweep(without(skip), [20, 40], 1);
    assert.ok(violations.length > 0, String(skip));
  }
});

for (const code of ["ENOSPC", "EIO"]) {
  test(`${code} at every step of a save: FileError, and the newest is the old or the new one`, async () => {
    let failed = 0;
    for (let at = 0; ; at++) {
      const files = memoryFiles();
      await withTwo(files);
      const warnings: string[] = [];
      const store = await openCheckpoints(files, dir, { onWarning: (message) => warnings.push(message) });
      const first = files.steps;
      files.fault = ({ index }) => (index === first + at ? { fail: code, written: 5 } : undefined);
      const error = await store.save(state(60)).then(
        () => undefined,
        (error: unknown) => error,
      );
      const reached = files.steps > first + at;
      files.fault = undefined;
      if (error === undefined) {
        equal(await store.latest(), state(60));
        assert.equal(warnings.length, reached ? 1 : 0); // an old one could not be removed
      } else {
        failed++;
        assert.ok(error instanceof FileError && error.code === code && error.path?.startsWith(dir), String(error));
        const latest = await store.latest();
        assert.deepEqual(plain(latest as Checkpoint), plain(state(latest?.step === 60 ? 60 : 40)));
        assert.deepEqual(
          (await names(files)).filter((name) => name.startsWith(".")),
          [],
        );
      }
      await store.save(state(80));
      equal(await store.latest(), state(80));
      if (!reached) break;
    }
    assert.ok(failed > 20, `${failed} failures`);
  });
}

test("a disk that fills up leaves the old one whole, nothing half-written, and says ENOSPC", async () => {
  const roomy = memoryFiles();
  await withTwo(roomy);
  const size = async (path: string): Promise<number> => {
    const { kind, size: own } = await roomy.stat(path);
    if (kind === "file") return own;
    const sizes = (await roomy.list(path)).map((name) => size(`${path}/${name}`));
    return (await Promise.all(sizes)).reduce((a, b) => a + b, 0);
  };
  const two = await size(dir);
  const one = await size(`${dir}/step-00000040`);
  for (let capacity = two; capacity < two + one; capacity += 61) {
    const files = memoryFiles({ capacity });
    await withTwo(files);
    const store = await openCheckpoints(files, dir);
    await assert.rejects(
      store.save(state(60)),
      (e: unknown) => e instanceof FileError && e.code === "ENOSPC" && /no space is left/.test(e.message),
    );
    equal(await store.latest(), state(40));
    assert.deepEqual(await names(files), ["step-00000020", "step-00000040"]);
  }
});

test("a second writer gets FileError EEXIST until the first closes; readers need no lock", async () => {
  const files = memoryFiles();
  const first = await openCheckpoints(files, dir);
  await first.save(state(20));
  await assert.rejects(openCheckpoints(files, dir), (e: unknown) => e instanceof FileError && e.code === "EEXIST");
  equal(await latestCheckpoint(files, dir), state(20));
  await first.close();
  await first.close();
  await assert.rejects(first.save(state(40)), ArgumentError);
  const second = await openCheckpoints(files, dir);
  await second.save(state(40));
  await second[Symbol.asyncDispose]();
  await (await openCheckpoints(files, dir)).close();
});

test("saves that are asked for at once are written one after the other", async () => {
  const files = memoryFiles();
  const store = await openCheckpoints(files, dir);
  await Promise.all([20, 40, 60].map((step) => store.save(state(step))));
  assert.deepEqual(await names(files), ["step-00000040", "step-00000060"]);
  equal(await store.latest(), state(60));
});

const newest = `${dir}/step-00000040`;
const text = (s: string): Uint8Array[] => [new TextEncoder().encode(s)];
const damages: [what: string, damage: (files: Files) => Promise<void>, kind: new (m: string) => Error, says: RegExp][] =
  [
    [
      "a missing tensor file",
      (f) => f.remove(`${newest}/model.safetensors`),
      FormatError,
      /step-00000040\/model\.safetensors: the file is missing/,
    ],
    [
      "a missing manifest",
      (f) => f.remove(`${newest}/manifest.json`),
      FormatError,
      /manifest\.json: the file is missing/,
    ],
    [
      "a manifest that is not JSON",
      (f) => f.write(`${newest}/manifest.json`, text("half a ma")),
      FormatError,
      /manifest\.json: not valid JSON/,
    ],
    ["an empty manifest", (f) => f.write(`${newest}/manifest.json`, []), FormatError, /manifest\.json: not valid JSON/],
    [
      "another JSON file as manifest",
      (f) => f.write(`${newest}/manifest.json`, text("{}")),
      FormatError,
      /not a checkpoint's manifest/,
    ],
    [
      "a shorter file",
      (f) => f.write(`${newest}/config.json`, text("{")),
      FormatError,
      /config\.json: the manifest says \d+ bytes, the file has 1/,
    ],
    [
      "another raw.bin",
      (f) => f.write(`${newest}/raw.bin`, [Uint8Array.of(40, 255, 1)]),
      FormatError,
      /raw\.bin: SHA-256: the manifest says/,
    ],
    [
      "an unknown version",
      (f) => edit(f, /"version": 1/, '"version": 2'),
      CheckpointError,
      /format version 2, this program reads 1/,
    ],
    [
      "a changed step",
      (f) => edit(f, /"step": 40/, '"step": 41'),
      FormatError,
      /manifest\.json: sha256: the file says/,
    ],
  ];

async function edit(files: Files, from: RegExp, to: string): Promise<void> {
  const manifest = new TextDecoder().decode(await files.read(`${newest}/manifest.json`));
  assert.match(manifest, from);
  await files.write(`${newest}/manifest.json`, text(manifest.replace(from, to)));
}

for (const [what, damage, kind, says] of damages) {
  test(`${what}: load throws, latest warns and gives the one before`, async () => {
    const files = memoryFiles();
    await withTwo(files);
    await damage(files);
    const warnings: string[] = [];
    const store = await openCheckpoints(files, dir, { onWarning: (message) => warnings.push(message) });
    await assert.rejects(store.load("step-00000040"), (e: unknown) => e instanceof kind && says.test(e.message));
    equal(await store.latest(), state(20));
    assert.equal(warnings.length, 1);
    assert.match(String(warnings[0]), says);
    await store.save(state(60));
    equal(await store.latest(), state(60));
    await store.save(state(40));
    equal(await store.latest(), state(40));
  });
}

test("if none is whole, latest throws with every reason rather than start anew", async () => {
  const files = memoryFiles();
  await withTwo(files);
  for (const step of ["20", "40"]) await files.remove(`${dir}/step-000000${step}/model.safetensors`);
  await assert.rejects(latestCheckpoint(files, dir, silent), (e: unknown) => {
    return e instanceof FormatError && /step-00000020/.test(e.message) && /step-00000040/.test(e.message);
  });
  await assert.rejects(loadCheckpoint(memoryFiles(), "."), CheckpointError);
  await assert.rejects(
    loadCheckpoint(memoryFiles(), "nowhere"),
    (e: unknown) => e instanceof FileError && e.code === "ENOENT",
  );
});

test("one flipped bit anywhere in the newest is noticed", async () => {
  const original = memoryFiles();
  await withTwo(original);
  const fileNames = await original.list(newest);
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...fileNames), fc.nat(), fc.nat(7), async (name, at, bit) => {
      const files = memoryFiles();
      await withTwo(files);
      const bytes = await files.read(`${newest}/${name}`);
      const i = at % bytes.length;
      bytes[i] = (bytes[i] ?? 0) ^ (1 << bit);
      await files.write(`${newest}/${name}`, [bytes]);
      equal(await latestCheckpoint(files, dir, silent), state(20));
    }),
    { numRuns: 200 },
  );
});

test("a manifest cannot name a file outside its directory", async () => {
  const { writeManifest, readManifest } = await import("./checkpoint-manifest.ts");
  const entry = { kind: "bytes", bytes: 0, sha256: "0".repeat(64) } as const;
  for (const name of ["../secret", "/etc/passwd", "a/b", ".hidden", "", "a\0b", "manifest.json"]) {
    const manifest = writeManifest({ step: 1, sequence: 1, files: { [name]: entry }, meta: null });
    assert.throws(() => readManifest(new TextEncoder().encode(manifest), "manifest.json"), /is not a plain file name/);
  }
});

test("content that cannot be kept is refused before storage is touched", async () => {
  const files = memoryFiles();
  const store = await openCheckpoints(files, dir);
  const steps = files.steps;
  const bad: [Partial<CheckpointContent>, RegExp][] = [
    [{ step: 1.5 }, /step must be a whole number, got 1.5/],
    [{ meta: { loss: Number.NaN } }, /meta\.loss cannot be kept as JSON: NaN/],
    [{ documents: { config: { a: [1, Number.POSITIVE_INFINITY] } } }, /config\.a\[1\] cannot be kept/],
    [{ blobs: { "../x": "" } }, /cannot be the name of a file/],
    [{ blobs: { "Config.json": "" } }, /cannot be the name of a file/],
    [{ blobs: { "manifest.json": "" } }, /cannot be the name of a file/],
    [{ tensors: { model: { w: { dtype: "f32", shape: [2], data: new Uint8Array(4) } } } }, /tensor "w"/],
  ];
  for (const [part, says] of bad) {
    await assert.rejects(
      store.save({ ...state(20), ...part }),
      (e: unknown) => e instanceof ArgumentError && says.test(e.message),
    );
  }
  assert.equal(files.steps, steps);
  await assert.rejects(openCheckpoints(files, "other", { keep: 0 }), ArgumentError);
});

test("a reader that looks while the writer replaces what it listed finds the newer one", async () => {
  const files = memoryFiles();
  const store = await openCheckpoints(files, dir, { keep: 1 });
  await store.save(state(20));
  let raced = false;
  const racing: Files = {
    ...files,
    async read(path) {
      if (path.endsWith("model.safetensors") && !raced) {
        raced = true;
        await store.save(state(40));
      }
      return files.read(path);
    },
  };
  equal(await latestCheckpoint(racing, dir, silent), state(40));
  assert.ok(raced);
});
