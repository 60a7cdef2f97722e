/** Ctrl-C ends the text of `generate`, and in `chat` only the reply. */
import assert from "node:assert/strict";
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import test, { after, before } from "node:test";
import { fileURLToPath } from "node:url";
import { nodeFiles } from "@sinan/train/node";
import { llama, llamaConfig, saveLlama, trainBpe } from "@sinan/llm";
import { device, key } from "sinan";

const main = fileURLToPath(new URL("main.ts", import.meta.url));
const endless = ["--max-tokens", "1000000", "--temperature", "1", "--device", "interpreter"];
let cwd = "";

before(async () => {
  cwd = mkdtempSync(path.join(tmpdir(), "sinan-ctrl-c-"));
  await device("interpreter");
  const config = { vocabSize: 256, hiddenSize: 8, intermediateSize: 8, numHiddenLayers: 1, eosTokenIds: [] };
  const heads = { numAttentionHeads: 1, numKeyValueHeads: 1, headDim: 8, maxPositionEmbeddings: 64 };
  const model = llama(llamaConfig("llama-tiny", { ...config, ...heads })).init(key(1));
  await saveLlama(nodeFiles(), path.join(cwd, "model"), model);
  writeFileSync(path.join(cwd, "model", "tokenizer.json"), JSON.stringify(trainBpe(["a"], { vocabSize: 256 })));
});
after(() => rmSync(cwd, { recursive: true, force: true }));

const start = (...args: string[]): ChildProcessWithoutNullStreams =>
  spawn(process.execPath, [main, ...args, "--checkpoint", "model", ...endless], {
    cwd,
    env: { ...process.env, NO_COLOR: "1" },
  });

/** What a program said, and a promise for when it has said more. */
function heard(child: ChildProcessWithoutNullStreams) {
  const said = { out: "", err: "" };
  child.stdout.on("data", (piece: Buffer) => (said.out += piece.toString()));
  child.stderr.on("data", (piece: Buffer) => (said.err += piece.toString()));
  return {
    said,
    until: async (isSo: (out: string) => boolean): Promise<void> => {
      while (!isSo(said.out)) await once(child.stdout, "data");
    },
  };
}

test("generate ends where it is, with 130, and shows what it has", async () => {
  const child = start("generate", "--prompt", "Call me", "--overflow", "slide");
  const { said, until } = heard(child);
  await until((out) => out.length > "Call me".length);
  child.kill("SIGINT");
  assert.deepEqual(await once(child, "close"), [130, null], said.err);
  assert.match(said.out, /^Call me[^]+\n$/);
});

test("chat ends the reply and takes the next message; at the prompt it ends with 130", async () => {
  const child = start("chat");
  const { said, until } = heard(child);
  for (let turn = 1; turn <= 2; turn++) {
    const before = said.out.length;
    child.stdin.write("Who are you?\n");
    await until((out) => out.length > before);
    child.kill("SIGINT");
    await until((out) => out.split(" …\n").length === turn + 1);
    assert.equal(child.exitCode, null);
  }
  child.kill("SIGINT");
  assert.deepEqual(await once(child, "close"), [130, null], said.err);
});
