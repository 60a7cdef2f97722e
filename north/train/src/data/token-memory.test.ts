/** Making ids takes the same memory however large the text is. SINAN_STRESS=64 takes a text of so many megabytes. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { nodeFiles } from "../files/index.ts";
import { byteTokenizer } from "../fixtures/bytes.ts";
import { nativeSha256 } from "../files/native-sha256.ts";
import { textFile } from "./text-file.ts";
import { openTokens } from "./token-cache.ts";
import { tokenSource } from "./token-source.ts";

const megabytes = Math.max(32, Number(process.env["SINAN_STRESS"] ?? 0));

if (process.argv[2] === "build") {
  const file = process.argv[3] ?? "";
  const files = nodeFiles();
  let live = 0;
  const tokens = await openTokens(files, [await textFile(files, file)], {
    tokenizer: byteTokenizer(),
    cache: path.dirname(file),
    digest: nativeSha256,
    onProgress: (done) => {
      if (done % (1 << 22) !== 0) return;
      globalThis.gc?.();
      const { heapUsed, external } = process.memoryUsage();
      live = Math.max(live, (heapUsed + external) / 2 ** 20);
    },
  });
  const { inputs } = await tokenSource(tokens, { batch: 4, sequence: 64, seed: 0 }).at(1000);
  console.log(
    JSON.stringify({
      tokens: tokens.record.tokens,
      read: inputs.length,
      live,
      resident: process.resourceUsage().maxRSS / 1024,
    }),
  );
  await tokens.close();
} else tests();

function tests(): void {
  for (const kind of ["txt", "jsonl"]) {
    test(`${kind}: what is held of ${megabytes} MB of text is what is held of 4 MB`, async (t) => {
      const directory = await mkdtemp(path.join(tmpdir(), "sinan-"));
      t.after(() => rm(directory, { recursive: true }));
      const held = async (size: number): Promise<{ live: number; resident: number }> => {
        const file = `${directory}/${size}.${kind}`;
        await write(file, kind, size);
        const child = spawnSync(process.execPath, ["--expose-gc", fileURLToPath(import.meta.url), "build", file], {
          encoding: "utf8",
        });
        assert.equal(child.status, 0, child.stderr);
        const said = JSON.parse(child.stdout) as { tokens: number; read: number; live: number; resident: number };
        assert.ok(said.tokens > size * 0.9 * 2 ** 20 && said.read === 4 * 64 && said.live > 1);
        return said;
      };
      const [small, large] = [await held(4), await held(megabytes)];
      t.diagnostic(JSON.stringify([small, large]));
      // 4 bytes for each of a thousand documents in a megabyte, and pieces that are held or not when it is looked at; the text
      // alone would be 28 MB.
      assert.ok(large.live - small.live < 14, `${small.live} MB, then ${large.live} MB`);
    });
  }
}

async function write(file: string, kind: string, megabytes: number): Promise<void> {
  const sentence = "It was the best of times, it was the worst of times, it was the age of wisdom. ".repeat(12).trim();
  const line = kind === "jsonl" ? `${JSON.stringify({ text: sentence })}\n` : `${sentence}\n`;
  const block = Buffer.from(line.repeat(Math.floor(2 ** 20 / line.length)).padEnd(2 ** 20, "\n"));
  const out = await open(file, "w");
  for (let i = 0; i < megabytes; i++) await out.write(block);
  await out.close();
}
