import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import test, { type TestContext } from "node:test";
import {
  FileError,
  type Files,
  latestCheckpoint,
  memoryFiles,
  openCheckpoints,
  openSafetensors,
  randomAccess,
  replaceFile,
  type Sha256,
  sha256Hex,
  writeSafetensors,
} from "sinan";
import { nodeFiles } from "./node.ts";

const files = nodeFiles();

// This file is also the program that the tests below start and kill.
if (process.argv[2] === "save-until-killed") await saveUntilKilled(String(process.argv[3]));

async function scratch(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "sinan-files-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

const text = (s: string): Uint8Array => new TextEncoder().encode(s);
const code = (expected: string) => (e: unknown) =>
  e instanceof FileError && e.code === expected && e.message.includes(expected);

// The contract of `Files`, kept by both implementations.
for (const [name, make] of [
  ["node", () => files],
  ["memory", () => memoryFiles()],
] as [string, () => Files][]) {
  test(`${name}: files are written, read whole and in part, renamed, listed, removed`, async (t) => {
    const f = make();
    const dir = name === "node" ? await scratch(t) : "/d";
    await f.mkdir(`${dir}/a/b`);
    await f.mkdir(`${dir}/a/b`);
    await f.write(`${dir}/a/x`, [text("hel"), text(""), text("lo")]);
    assert.equal(new TextDecoder().decode(await f.read(`${dir}/a/x`)), "hello");
    assert.equal((await f.read(`${dir}/a/x`)).byteOffset, 0);
    assert.equal(new TextDecoder().decode(await f.readRange(`${dir}/a/x`, 1, 3)), "ell");
    const { modified, ...stat } = await f.stat(`${dir}/a/x`);
    assert.deepEqual(stat, { kind: "file", size: 5 });
    if (name === "node") assert.ok(Math.abs((modified ?? 0) - Date.now()) < 60_000);
    else assert.equal(modified, null);
    const { kind, size } = await f.stat(`${dir}/a/b`);
    assert.deepEqual([kind, size], ["directory", 0]);
    await f.write(`${dir}/a/x`, [text("hi")]);
    assert.equal((await f.stat(`${dir}/a/x`)).size, 2);
    await replaceFile(f, `${dir}/a/x`, [text("new")]);
    await f.rename(`${dir}/a/x`, `${dir}/a/b/y`);
    assert.deepEqual(await f.list(`${dir}/a`), ["b"]);
    await f.fsyncDirectory(`${dir}/a`);
    assert.equal(await f.exists(`${dir}/a/x`), false);
    assert.equal(await f.exists(`${dir}/a/b/y`), true);
    assert.equal(await f.exists(`${dir}/a/b/y/z`), false);
    await f.mkdir(`${dir}/c`);
    await f.rename(`${dir}/a/b`, `${dir}/c/b`);
    assert.equal(new TextDecoder().decode(await f.read(`${dir}/c/b/y`)), "new");
    await f.remove(`${dir}/c`);
    await f.remove(`${dir}/c`);
    assert.deepEqual(await f.list(dir), ["a"]);
  });

  test(`${name}: a file is written from what comes in time, and an open one stays what it was`, async (t) => {
    const f = make();
    const dir = name === "node" ? await scratch(t) : "/d";
    await f.mkdir(dir);
    async function* slowly(): AsyncGenerator<Uint8Array> {
      for (const piece of ["a ", "slow ", "text"]) yield Promise.resolve(text(piece));
    }
    await f.write(`${dir}/x`, slowly());
    const file = await f.open(`${dir}/x`);
    assert.equal(file.size, 11);
    await replaceFile(f, `${dir}/x`, [text("another")]);
    assert.equal(new TextDecoder().decode(await file.read(2, 4)), "slow");
    await assert.rejects(file.read(8, 4), code("EOF"));
    await file.close();
    await assert.rejects(f.open(`${dir}/none`), code("ENOENT"));
  });

  test(`${name}: what cannot be done is a FileError with the path, the code and a way out`, async (t) => {
    const f = make();
    const dir = name === "node" ? await scratch(t) : "/d";
    await f.mkdir(`${dir}/full`);
    await f.write(`${dir}/full/file`, [text("12345")]);
    await f.mkdir(`${dir}/other`);
    await assert.rejects(f.read(`${dir}/none`), (e: unknown) => {
      assert.ok(e instanceof FileError);
      assert.deepEqual([e.name, e.path, e.code], ["FileError", `${dir}/none`, "ENOENT"]);
      assert.equal(
        e.message,
        `cannot read ${dir}/none: there is no such file or directory (ENOENT)\n  Check the path, or create the directory above it.`,
      );
      return true;
    });
    await assert.rejects(f.read(dir), code("EISDIR"));
    await assert.rejects(f.list(`${dir}/full/file`), code("ENOTDIR"));
    await assert.rejects(f.write(`${dir}/none/x`, []), code("ENOENT"));
    await assert.rejects(f.rename(`${dir}/other`, `${dir}/full`), code("ENOTEMPTY"));
    await assert.rejects(f.rename(`${dir}/none`, `${dir}/x`), code("ENOENT"));
    await assert.rejects(f.mkdir(`${dir}/full/file`), code("EEXIST"));
    await assert.rejects(f.stat(`${dir}/none`), code("ENOENT"));
    await assert.rejects(f.readRange(`${dir}/full/file`, 2, 4), code("EOF"));
    await assert.rejects(f.readRange(`${dir}/full/file`, 0, 2 ** 50), code("EOF"));
  });

  test(`${name}: a replacement that fails leaves the old content and nothing beside it`, async (t) => {
    const f = make();
    const dir = name === "node" ? await scratch(t) : "/d";
    await f.mkdir(dir);
    await f.write(`${dir}/x`, [text("old")]);
    function* failing(): Generator<Uint8Array> {
      yield text("ne");
      throw new Error("no more");
    }
    await assert.rejects(replaceFile(f, `${dir}/x`, failing()), /no more/);
    assert.equal(new TextDecoder().decode(await f.read(`${dir}/x`)), "old");
    assert.deepEqual(await f.list(dir), ["x"]);
  });

  test(`${name}: a lock is held by one at a time`, async (t) => {
    const f = make();
    const dir = name === "node" ? await scratch(t) : "/d";
    await f.mkdir(dir);
    const lock = await f.lock(`${dir}/lock`);
    await assert.rejects(f.lock(`${dir}/lock`), code("EEXIST"));
    await lock.release();
    await lock.release();
    const racers = await Promise.allSettled(Array.from({ length: 8 }, () => f.lock(`${dir}/lock`)));
    assert.equal(racers.filter(({ status }) => status === "fulfilled").length, 1);
    for (const racer of racers) if (racer.status === "fulfilled") await racer.value.release();
    assert.deepEqual(await f.list(dir), []);
  });
}

const owner = { id: "gone", started: null as string | null, host: hostname() };
const deadPid = async (): Promise<number> => {
  const child = spawn(process.execPath, ["-e", ""]);
  await once(child, "exit");
  return child.pid ?? 0;
};

test("the lock of a dead process is taken over, by one of many; so is one of another process with the same id", async (t) => {
  const dir = await scratch(t);
  const stale = [
    { ...owner, pid: await deadPid() },
    ...(process.platform === "linux" ? [{ ...owner, pid: process.pid, started: "another boot:1" }] : []),
  ];
  for (const holder of stale) {
    await writeFile(`${dir}/lock`, JSON.stringify(holder));
    const racers = await Promise.allSettled(Array.from({ length: 8 }, () => files.lock(`${dir}/lock`)));
    const won = racers.filter((racer) => racer.status === "fulfilled");
    assert.equal(won.length, 1);
    for (const racer of racers)
      if (racer.status === "rejected") assert.ok(code("EEXIST")(racer.reason), String(racer.reason));
    await won[0]?.value.release();
    assert.deepEqual(await readdir(dir), []);
  }
});

test("the lock of a live process or of another machine is respected, and the error says whose it is", async (t) => {
  const dir = await scratch(t);
  await writeFile(`${dir}/lock`, JSON.stringify({ ...owner, pid: process.ppid }));
  await assert.rejects(files.lock(`${dir}/lock`), new RegExp(`process ${process.ppid} has it`));
  await writeFile(`${dir}/lock`, JSON.stringify({ ...owner, pid: 4, host: "elsewhere" }));
  await assert.rejects(files.lock(`${dir}/lock`), /process 4 on elsewhere has it/);
  await writeFile(`${dir}/lock`, "");
  await assert.rejects(files.lock(`${dir}/lock`), /a program that is starting has it/);
});

test("a full disk is a FileError ENOSPC", { skip: process.platform !== "linux" }, async () => {
  await assert.rejects(files.write("/dev/full", [text("x")]), (e: unknown) => {
    return e instanceof FileError && e.code === "ENOSPC" && /no space is left on the device/.test(e.message);
  });
});

test("a full disk under a checkpoint: ENOSPC, and the old one stays whole", {
  skip: process.platform !== "linux",
}, async (t) => {
  const dir = await scratch(t);
  const store = await openCheckpoints(files, `${dir}/run`);
  t.after(() => store.close());
  await store.save(state(1));
  // The one file that the save will find in its place is the full device.
  const onFull: Files = {
    ...files,
    async write(path, chunks) {
      if (path.endsWith("optimizer.safetensors")) await symlink("/dev/full", path);
      return files.write(path, chunks);
    },
  };
  const full = await openCheckpoints(onFull, `${dir}/other`);
  t.after(() => full.close());
  await assert.rejects(full.save(state(2)), code("ENOSPC"));
  assert.deepEqual(await readdir(`${dir}/other`), [".lock"]);
  assert.equal((await store.latest())?.step, 1);
});

test("a read-only directory is a FileError", async (t) => {
  const dir = await scratch(t);
  await chmod(dir, 0o555);
  // Permissions do not bind root: be nobody for the length of the test.
  const root = process.geteuid?.() === 0;
  if (root) process.seteuid?.(65534);
  try {
    const expected = (e: unknown): boolean =>
      e instanceof FileError && e.code === "EACCES" && /permission is denied/.test(e.message);
    await assert.rejects(openCheckpoints(files, `${dir}/run`), expected);
    await assert.rejects(openCheckpoints(files, dir), expected);
    await assert.rejects(replaceFile(files, `${dir}/x`, [text("x")]), expected);
  } finally {
    if (root) process.seteuid?.(0);
    await chmod(dir, 0o755);
  }
  assert.deepEqual(await readdir(dir), []);
});

test("a safetensors file on disk is read tensor by tensor", async (t) => {
  const dir = await scratch(t);
  const data = Uint8Array.from({ length: 24 }, (_, i) => i);
  await files.write(`${dir}/w.safetensors`, [writeSafetensors({ w: { dtype: "f64", shape: [3], data } })]);
  const lazy = await openSafetensors(await randomAccess(files, `${dir}/w.safetensors`));
  assert.deepEqual((await lazy.tensor("w")).data, data);
});

test("two writers on one directory: the second gets FileError EEXIST", async (t) => {
  const dir = await scratch(t);
  const first = await openCheckpoints(files, dir);
  t.after(() => first.close());
  await first.save(state(1));
  await assert.rejects(openCheckpoints(files, dir), code("EEXIST"));
  const child = start(dir);
  const [, said] = await Promise.all([once(child, "exit"), output(child)]);
  assert.match(said, /FileError: cannot lock/);
});

test("killed a dozen times while it saves, a run always finds its newest checkpoint, whole", async (t) => {
  const dir = await scratch(t);
  let before = 0;
  let midSave = 0;
  for (let kill = 0; kill < 12; kill++) {
    const child = start(dir);
    let acknowledged = before;
    let said = "";
    const ready = new Promise<void>((resolve, reject) => {
      child.stdout?.on("data", (data: Buffer) => {
        said += data.toString();
        const lines = said.split("\n").slice(0, -1);
        acknowledged = Number(lines.at(-1));
        if (lines.length > 0) resolve();
      });
      child.on("exit", () => reject(new Error(`the child ended by itself: ${said}`)));
    });
    await ready;
    await new Promise((resolve) => setTimeout(resolve, 1 + kill * 3.7));
    child.kill("SIGKILL");
    await once(child, "exit");
    if ((await readdir(dir)).some((name) => name.startsWith(".tmp-"))) midSave++;
    const warnings: string[] = [];
    const latest = await latestCheckpoint(files, dir, { onWarning: (message) => warnings.push(message) });
    assert.ok(latest !== null && latest.step >= acknowledged, `step ${latest?.step} after ${acknowledged}`);
    const expected = state(latest.step);
    assert.deepEqual(latest.tensors.model?.get("w")?.data, expected.tensors.model.w.data);
    assert.deepEqual(latest.tensors.optimizer?.get("m")?.data, expected.tensors.optimizer.m.data);
    assert.deepEqual(latest.meta, expected.meta);
    assert.deepEqual(warnings, []);
    before = latest.step;
  }
  assert.ok(before > 12, `reached step ${before}`);
  assert.ok(midSave > 0, "at least one kill came in the middle of a save");
  assert.match(await readFile(`${dir}/.lock`, "utf8"), /"pid"/);
});

/** Goes on from the newest checkpoint, saving one after the other; prints each step once its checkpoint is safe. */
async function saveUntilKilled(directory: string): Promise<never> {
  const checkpoints = await openCheckpoints(files, directory);
  let step = (await checkpoints.latest())?.step ?? 0;
  for (;;) {
    step++;
    await checkpoints.save(state(step));
    console.log(step);
  }
}

/** 1 MB whose every word depends on the step, so that a save takes long enough to be cut. */
function state(step: number) {
  const tensor = (salt: number, n = 1 << 17) => {
    const words = Uint32Array.from({ length: n }, (_, i) => Math.imul(i + salt, 2654435761) + step);
    return { dtype: "f32" as const, shape: [n], data: new Uint8Array(words.buffer) };
  };
  return { step, tensors: { model: { w: tensor(1) }, optimizer: { m: tensor(2) } }, meta: { step } };
}

function start(directory: string): ChildProcess {
  return spawn(process.execPath, [fileURLToPath(import.meta.url), "save-until-killed", directory], {
    stdio: ["ignore", "pipe", "pipe"],
  });
}

async function output({ stdout, stderr }: ChildProcess): Promise<string> {
  let all = "";
  for (const stream of [stdout, stderr]) if (stream) for await (const data of stream) all += String(data);
  return all;
}

test("its hash is that of the core, however the bytes come", () => {
  const bytes = Uint8Array.from({ length: 100_000 }, (_, i) => (i * i) % 251);
  const own = (nodeFiles().sha256 as () => Sha256)();
  for (let at = 0; at < bytes.length; at += 999) own.update(bytes.subarray(at, at + 999));
  assert.equal(own.hex(), sha256Hex(bytes));
});
