/** The page of `examples/browser`: a LLaMA trains in its worker, and what it loses at each step is what the same code loses
 *  under Node, bit for bit: with the page's own headers, where threads share the memory, and without, where there is one. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { device } from "sinan";
import { buildPage } from "../examples/browser/build.ts";
import { learn } from "../examples/browser/learn.ts";
import type { Answer } from "../examples/browser/messages.ts";
import { servePage } from "../examples/browser/serve.ts";
import { noChromium, openChromium } from "./browser/chromium.ts";
import { serve, type Served } from "./browser/server.ts";

const [steps, sampleEvery, characters] = [30, 15, 40_000];
const policy = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'";

let folder = "";
before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "sinan-page-"));
  await buildPage(folder);
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** Keeps what the page's workers say. */
const listening = `globalThis.heard = [];
  globalThis.Worker = class extends Worker {
    constructor(...args) {
      super(...args);
      this.addEventListener("message", ({ data }) => heard.push(data));
    }
  };`;

interface Seen {
  readonly heard: readonly Answer[];
  readonly state: string;
  readonly loss: string;
  readonly samples: number;
  readonly workers: readonly string[];
}

async function visit(origin: string): Promise<Seen> {
  const browser = await openChromium();
  try {
    const context = await browser.newContext();
    const page = await context.newPage();
    const errors: string[] = [];
    page.on("pageerror", (error) => void errors.push(String(error)));
    page.on("console", (message) => void (message.type() === "error" && errors.push(message.text())));
    await page.addInitScript(listening);
    await page.goto(`${origin}/index.html?start&steps=${steps}&sample=${sampleEvery}&characters=${characters}`);
    const workers = new Set<string>();
    for (let isDone = false; !isDone; ) {
      isDone = Boolean(await page.evaluate(`heard.some(({ event }) => event === "done" || event === "error")`));
      for (const worker of page.workers()) workers.add(path.posix.basename(worker.url()));
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.deepEqual(errors, []);
    const seen = await page.evaluate(`({
      heard,
      state: document.getElementById("state").textContent,
      loss: document.getElementById("loss").textContent,
      samples: document.querySelectorAll("#samples li").length,
    })`);
    return { ...(seen as Omit<Seen, "workers">), workers: [...workers].sort() };
  } finally {
    await browser.close();
  }
}

const losses = (told: readonly Answer[]): number[] => told.flatMap((e) => (e.event === "step" ? [e.loss] : []));
const written = (told: readonly Answer[]): unknown[] =>
  told.flatMap((e) => (e.event === "sample" ? [[e.step, e.heldOut, e.text]] : []));

async function underNode(): Promise<Answer[]> {
  await device("cpu");
  const text = readFileSync(path.join(folder, "moby-dick.txt"), "utf8").slice(0, characters);
  const told: Answer[] = [];
  for await (const event of learn({ text, steps, sampleEvery })) told.push(event);
  return told;
}

const settings: Readonly<
  Record<string, { readonly open: () => Promise<Served>; readonly workers: readonly string[] }>
> = {
  "as the example serves it": {
    async open() {
      const server = servePage(folder);
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, close: () => server.close() };
    },
    workers: ["threads.js", "worker.js"],
  },
  "without cross-origin isolation": {
    open: () => serve(new Map(), { "/": folder }, { "content-security-policy": policy }),
    workers: ["worker.js"],
  },
};

test("the page trains, and its losses are Node's", { skip: noChromium }, async (t) => {
  const expected = await underNode();
  const [first = 0, last = 0] = [losses(expected)[0], losses(expected).at(-1)];
  assert.ok(last < first - 1, `${first} to ${last}`);
  for (const [name, { open, workers }] of Object.entries(settings))
    await t.test(name, async () => {
      const served = await open();
      try {
        const seen = await visit(served.origin);
        assert.equal(seen.state, "done");
        assert.deepEqual(losses(seen.heard), losses(expected));
        assert.deepEqual(written(seen.heard), written(expected));
        assert.equal(seen.loss, last.toFixed(3));
        assert.equal(seen.samples, steps / sampleEvery);
        assert.deepEqual(seen.workers, workers);
      } finally {
        served.close();
      }
    });
});
