/** The packages, packed and installed into an empty project: under several versions of Node, Bun and Deno, and bundled by esbuild and
 *  by Vite for a page with a content-security policy. A small model trains and gives what it gives under this Node. Needs
 *  `npm run build`. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { build as esbuild } from "esbuild";
import { build as vite } from "vite";
import { noChromium, openChromium } from "./browser/chromium.ts";
import { isolation, serve } from "./browser/server.ts";
import { absent, install } from "./installed.ts";

/** Trains a few steps with shared loops, however short, and says what the losses were. */
const program = `
  import "@sinan/cpu";
  import { device, jit, key, nn, optim, random, valueAndGrad } from "sinan";
  import { Trainer } from "@sinan/llm";

  export async function run(options) {
    const { threads } = await device("cpu", { options: { threads: 2, grain: 1, ...options } });
    const trainer = new Trainer({ data: { text: "to be or not to be, that is the question; ".repeat(60) }, vocabSize: 272, seqLen: 16, batchSize: 2 });
    const losses = [];
    await trainer.train({ steps: 4, out: null, progress: null, onWarning() {}, onEvent(e) { if (e.event === "step") losses.push(e.loss); } });
    return JSON.stringify({ threads, losses });
  }
`;
const underNode = `import { run } from "./program.js";\nconsole.log(await run({}));\n`;
const inPage = (options: string, imports = ""): string =>
  `${imports}import { run } from "./program.js";\nrun(${options}).then((said) => { globalThis.said = said; }, (cause) => { globalThis.said = String(cause); });\n`;

let scratch = "";
let expected = "";
before(() => {
  if (absent) return;
  scratch = install().folder;
  writeFileSync(path.join(scratch, "program.js"), program);
  writeFileSync(path.join(scratch, "node.js"), underNode);
  expected = outputOf(process.execPath, ["node.js"]);
});
after(() => {
  if (scratch) rmSync(scratch, { recursive: true, force: true });
});

function outputOf(command: string, args: readonly string[], cwd = scratch): string {
  const { stdout, stderr, status } = spawnSync(command, args, { cwd, encoding: "utf8", timeout: 120_000 });
  assert.equal(status, 0, stderr);
  return stdout.trim();
}

test("under Node they train", { skip: absent }, () => {
  const { threads, losses } = JSON.parse(expected) as { threads: number; losses: number[] };
  assert.equal(threads, 2);
  assert.equal(losses.length, 4);
  assert.ok((losses[3] ?? 9) < (losses[0] ?? 0) && Math.abs((losses[0] ?? 0) - Math.log(272)) < 0.5, expected);
});

/** What a page with that policy says, and which files its workers run. */
async function visit(folder: string, policy: string): Promise<{ said: string; workers: string[] }> {
  writeFileSync(
    path.join(folder, "page.html"),
    '<!doctype html><meta charset="utf-8"><title>Sinan</title><script type="module" src="page.js"></script>\n',
  );
  const served = await serve(new Map(), { "/": folder }, { ...isolation, "content-security-policy": policy });
  const browser = await openChromium();
  try {
    const page = await (await browser.newContext()).newPage();
    await page.goto(`${served.origin}/page.html`);
    for (const end = Date.now() + 120_000; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 50))) {
      const said = await page.evaluate("globalThis.said");
      if (typeof said !== "string") continue;
      const workers = page
        .workers()
        .map((worker) => new URL(worker.url()).pathname.replace(/.*\/(threads[^/]*)$/, "$1"));
      return { said, workers: workers.map((name) => (name.startsWith("threads") ? "threads" : "text")) };
    }
    throw new Error("the page said nothing");
  } finally {
    await browser.close();
    served.close();
  }
}

const strict = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'";
const skip = absent || noChromium;

/** By esbuild, as hard as it can: short names, and functions that keep theirs. */
async function bundled(name: string, options: string): Promise<string> {
  const outdir = path.join(scratch, name);
  await esbuild({
    stdin: { contents: inPage(options), resolveDir: scratch, sourcefile: "page.js" },
    outfile: path.join(outdir, "page.js"),
    bundle: true,
    minify: true,
    keepNames: true,
    format: "esm",
    target: "es2022",
    logLevel: "warning",
  });
  await esbuild({
    stdin: { contents: 'import "@sinan/cpu/worker";', resolveDir: scratch, sourcefile: "threads.js" },
    outfile: path.join(outdir, "threads.js"),
    bundle: true,
    minify: true,
    keepNames: true,
    format: "esm",
    target: "es2022",
    logLevel: "warning",
  });
  return outdir;
}

test("esbuild, under a policy that allows workers made of text", { skip }, async () => {
  const { said, workers } = await visit(await bundled("text", "{}"), `${strict}; worker-src blob:`);
  assert.equal(said, expected);
  assert.deepEqual(workers, ["text", "text"]);
});

test("esbuild, under a policy that allows no worker but files: threads in a file", { skip }, async () => {
  const { said, workers } = await visit(await bundled("file", '{ worker: "/threads.js" }'), strict);
  assert.equal(said, expected);
  assert.deepEqual(workers, ["threads", "threads"]);
});

test("esbuild, under a policy that forbids the workers: the page does the work", { skip }, async () => {
  const { said, workers } = await visit(await bundled("none", "{}"), strict);
  assert.equal(said, expected);
  assert.deepEqual(workers, []);
});

test("Vite, with the threads' program as it bundles workers", { skip }, async () => {
  const outDir = path.join(scratch, "vite");
  const imports = `import worker from "./threads.js?worker&url";\n`;
  writeFileSync(path.join(scratch, "threads.js"), 'import "@sinan/cpu/worker";\n');
  writeFileSync(path.join(scratch, "page.js"), inPage("{ worker }", imports));
  await vite({
    root: scratch,
    configFile: false,
    logLevel: "warn",
    worker: { format: "es" },
    build: {
      outDir,
      target: "es2022",
      rollupOptions: { input: path.join(scratch, "page.js"), output: { entryFileNames: "page.js" } },
    },
  });
  const { said, workers } = await visit(outDir, strict);
  assert.equal(said, expected);
  assert.deepEqual(workers, ["threads", "threads"]);
});

/** What is called so: on the path, or where an environment variable says. */
function found(name: string): string | undefined {
  const asked = process.env[`SINAN_${name.toUpperCase()}`];
  if (asked) return asked;
  const folders = (process.env["PATH"] ?? "").split(path.delimiter).filter(Boolean);
  return folders.map((folder) => path.join(folder, name)).find((file) => existsSync(file));
}

const command = path.join("node_modules", "@sinan", "cli", "main.js");
const devices = (node: string, cwd = scratch): string[] =>
  (JSON.parse(outputOf(node, [command, "devices", "--json"], cwd)) as { name: string }[]).map(({ name }) => name);

test("the command, installed by itself, has the processor", { skip: absent }, () => {
  const { folder, packages } = install("@sinan/cli");
  try {
    assert.ok(!packages.some(({ name }) => name === "@sinan/sim"));
    assert.deepEqual(devices(process.execPath, folder).sort(), ["cpu", "interpreter"]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

const others = [
  { name: "node22", args: ["node.js"] },
  { name: "node24", args: ["node.js"] },
  { name: "bun", args: ["run", "node.js"] },
  { name: "deno", args: ["run", "--allow-all", "node.js"] },
];
for (const { name, args } of others) {
  const runtime = found(name);
  const missing = runtime === undefined && `there is no ${name} on the path, and none in SINAN_${name.toUpperCase()}`;
  test(`under ${name}`, { skip: absent || missing }, () => {
    const { threads, losses } = JSON.parse(outputOf(runtime ?? name, args)) as { threads: number; losses: number[] };
    const own = (JSON.parse(expected) as { losses: number[] }).losses;
    assert.equal(threads, 2);
    // Another engine may not fuse a product with a sum, which is another numeric plan.
    for (const [i, loss] of losses.entries())
      assert.ok(Math.abs(loss - (own[i] ?? 0)) < 1e-5, `${loss}, not ${own[i]}`);
    assert.equal(losses.length, own.length);
    if (name.startsWith("node")) assert.ok(devices(runtime ?? name).includes("cpu"));
  });
}
