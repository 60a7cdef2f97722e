import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { type CalledPeer, calledPeer } from "./called-peer.ts";
import { inTurn } from "./in-turn.ts";
import { home } from "./peers.ts";

const program = `import { answerTurns } from "./turns.mjs";
console.log("a word of the library's");
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
await answerTurns({ name: "other", version: process.argv[2] }, (of) => {
  if (of === "dies") process.exit(3);
  if (of === "fails") throw new Error("no such kernel");
  return of === "lacks" ? undefined : { run: () => wait(Number(of)), check: () => 7 };
});`;

async function withPeers(versions: readonly string[], f: (peers: CalledPeer[]) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(path.join(tmpdir(), "sinan-turns-"));
  try {
    mkdirSync(path.join(folder, "node_modules", "present"), { recursive: true });
    copyFileSync(path.join(home, "turns.mjs"), path.join(folder, "turns.mjs"));
    writeFileSync(path.join(folder, "other.mjs"), program);
    const peers: CalledPeer[] = [];
    for (const version of versions) {
      const peer = await calledPeer({ file: "other.mjs", args: [version], needs: "present" }, { folder });
      if (peer) peers.push(peer);
    }
    assert.equal(peers.length, versions.length);
    await f(peers);
    for (const peer of peers) peer.close();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test("calls of ours and of a peer take turns, and of two programs of one version the better counts", async () => {
  await withPeers(["1", "1", "2"], async (peers) => {
    const order: string[] = [];
    const told = peers.map((peer, i) => ({
      ...peer,
      turn: (of: string, seconds: number) => {
        order.push(String(i));
        return peer.turn(i === 0 ? "30" : of, seconds);
      },
    }));
    const ours = () => {
      if (order.at(-1) !== "ours") order.push("ours");
      return setTimeout(2);
    };
    const timed = await inTurn(ours, told, "5", { seconds: 0.05, threads: 1 });
    assert.ok(timed.ours >= 0.0015 && timed.ours < 0.5, String(timed.ours));
    assert.deepEqual(
      timed.theirs.map(({ name, version, check }) => [name, version, check]),
      [
        ["other", "1", 7],
        ["other", "2", 7],
      ],
    );
    assert.ok(
      timed.theirs.every(({ value }) => value >= 0.004 && value < 0.03),
      JSON.stringify(timed.theirs),
    );
    assert.deepEqual(order.slice(0, 8), ["ours", "0", "1", "2", "ours", "0", "1", "2"]);
  });
});

test("a slow peer is asked three times, one that lacks the case or fails at it once", async () => {
  await withPeers(["1"], async ([peer]) => {
    let turns = 0;
    const counted = {
      ...(peer as CalledPeer),
      turn: (of: string, seconds: number) => (turns++, (peer as CalledPeer).turn(of, seconds)),
    };
    const ask = (of: string) => inTurn(() => setTimeout(1), [counted], of, { seconds: 0.02, threads: 1 });
    assert.ok(((await ask("60")).theirs[0]?.value ?? 0) >= 0.05);
    assert.equal(turns, 3);
    turns = 0;
    const late = { seconds: 0.1, threads: 1, mostSeconds: 0.02 };
    assert.equal((await inTurn(() => setTimeout(1), [counted], "30", late)).theirs.length, 1);
    assert.equal(turns, 1, "when the time of all is over, nobody is asked again");
    for (const missing of ["lacks", "fails"]) {
      turns = 0;
      assert.deepEqual([(await ask(missing)).theirs, turns], [[], 1], missing);
    }
    await assert.rejects(ask("dies"), /present: the program ended/);
  });
});
