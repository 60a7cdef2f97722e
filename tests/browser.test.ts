/** The tests of ops, models and devices once more, in pages of Chromium: with cross-origin isolation, where Web Workers share the
 *  memory, and without, where nothing is shared and a memory that grows takes its views away. Each test file is bundled and
 *  runs on the main thread of a page of its own. `npm test` runs a sample, `npm run test:devices` all of it. */
import assert from "node:assert/strict";
import { globSync } from "node:fs";
import { after, before, describe, test, type TestContext } from "node:test";
import type { Browser } from "playwright-core";
import { pagePrograms, root } from "./browser/bundle.ts";
import { noChromium, openChromium } from "./browser/chromium.ts";
import type { Choice } from "./browser/page/test.ts";
import { runPage } from "./browser/run.ts";
import { isolation, serve, type Served } from "./browser/server.ts";

const isFull = process.env["SINAN_TEST_DEVICES"] === "all";
/** Of the tests, `npm test` runs one of so many: their names and the seed choose. */
const share = { of: 12, seed: process.env["SINAN_BROWSER_SEED"] ?? "1" };
const timeoutMs = 600_000;

/** What must run in pages, and is what `npm test` samples. */
const ofPages = [
  "core/src/nn/functions.test.ts",
  "north/llm/src/model/llama.test.ts",
  "north/llm/src/model/training.test.ts",
  "north/llm/src/trainer.test.ts",
  "north/train/src/data/documents.test.ts",
  "north/train/src/data/token-cache.test.ts",
  "south/cpu/src/arenas.test.ts",
  "south/cpu/src/device.test.ts",
  "south/cpu/src/threads.test.ts",
  "tests/control.test.ts",
  "tests/dtypes.test.ts",
  "tests/gradients.test.ts",
  "tests/memory.test.ts",
  "tests/ops.test.ts",
  "tests/pipeline.test.ts",
  "tests/random.test.ts",
  "tests/region.test.ts",
  "tests/rows.test.ts",
  "tests/structured.test.ts",
  "tests/transforms.test.ts",
  "tests/traps.test.ts",
];
/** Runs in pages alone, and always whole. */
const host = "tests/browser/page/host.ts";

/** What looks for the user's line, which is not known in a bundle, for what the whole package adds, which every page here imports, or
 *  for turns of Node's own kind: whole files, or how the names of tests begin. */
const notOfPages: Readonly<Record<string, readonly string[] | "all">> = {
  "core/src/compiler/compile.test.ts": ["an error of a code generator names the kernel and the user's line"],
  "core/src/tensor/errors.test.ts": "all",
  "south/cpu/src/lean.test.ts": "all",
  "south/cpu/src/native/calls.test.ts": ["the host has turns while a caller waits"],
  "tests/memory.test.ts": ["a loop that never awaits ends in the typed error, with its line"],
};

const every = globSync(["{core,south/*,north/*}/src/**/*.test.ts", "tests/*.test.ts"], { cwd: root })
  .map((file) => file.replaceAll("\\", "/"))
  .filter((file) => notOfPages[file] !== "all" && !file.startsWith("tests/browser"))
  .sort();
const files = [host, ...(isFull ? every : ofPages)];

const settings = {
  /** Small loops are shared too, so that every op's are. */
  isolated: {
    headers: isolation,
    env: {
      SINAN_TEST_ISOLATED: "yes",
      SINAN_TEST_CPU: JSON.stringify({ threads: 2, grain: 1 }),
      SINAN_TEST_DEVICES: isFull ? "cpu,sim" : "cpu",
    },
    of: /./,
  },
  /** Memory is what differs, so only what uses the processor's. */
  "not isolated": {
    headers: {},
    env: { SINAN_TEST_ISOLATED: "no", SINAN_TEST_DEVICES: "cpu" },
    of: /^south\/cpu|^tests|\/(model|nn|optim|generate)\/|\/(loop|trainer)\.test/,
  },
} as const;

const page = (program: string): string =>
  `<!doctype html><meta charset="utf-8"><title>Sinan</title><script type="module" src="${program}"></script>\n`;

function choiceOf(file: string, env: Choice["env"]): Choice {
  if (file === host) return { env };
  const without = notOfPages[file] ?? [];
  return { env, ...(isFull ? {} : { share }), ...(without === "all" ? {} : { without }) };
}

describe("in pages of Chromium", { skip: noChromium }, async () => {
  let browser: Browser;
  before(async () => {
    browser = await openChromium();
  });
  after(() => browser.close());

  const { programs, elsewhere } = await pagePrograms(files);
  test("what runs in pages", () => {
    const left = ofPages.filter((file) => !programs.some((program) => program.file === file));
    assert.deepEqual(left, [], [...elsewhere].join("\n"));
  });

  for (const [setting, { headers, env, of }] of Object.entries(settings)) {
    const own = programs.filter(({ file }) => of.test(file));
    describe(setting, { concurrency: 2 }, () => {
      let served: Served;
      before(async () => {
        const contents = new Map<string, string | Uint8Array>();
        for (const { file, code } of own) {
          contents.set(`/${file}.html`, page(`/${file}.js`));
          contents.set(`/${file}.js`, code);
        }
        const folders = Object.fromEntries(
          ["/tests/fixtures/", "/node_modules/@stdlib/"].map((folder) => [folder, `${root}${folder}`]),
        );
        served = await serve(contents, folders, headers);
      });
      after(() => served.close());
      for (const { file } of own)
        test(file, (t) => inPage(t, browser, `${served.origin}/${file}.html`, choiceOf(file, env)));
    });
  }
});

/** A page's tests as tests within this one. */
async function inPage(t: TestContext, browser: Browser, url: string, choice: Choice): Promise<void> {
  const running: Promise<void>[] = [];
  await runPage(browser, url, {
    choice,
    timeoutMs,
    onTest({ name, outcome }) {
      running.push(
        t.test(name, async (s) => {
          const { skip, error } = await outcome;
          if (skip !== undefined) s.skip(skip);
          if (error !== undefined) throw new Error(error);
        }),
      );
    },
  });
  await Promise.all(running);
}
