/** The memory of the native tier is in huge pages, as Linux tells of it. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { newMemory, pageBytes } from "../../arena.ts";
import { newSharedMemory, reservedBytes } from "../../shared-memory.ts";
import { type Rig, rig } from "./pool.fixture.ts";

const here = await rig();
const given = here as Rig;
const hasThem = existsSync("/sys/kernel/mm/transparent_hugepage/enabled") && existsSync("/proc/self/smaps");
const skip = typeof here === "string" ? here : hasThem ? false : "the system has no huge pages that can be asked for";

/** Whether they were asked for at an address: the flag "hg" of the mapping that holds it. */
function isHuge(address: number): boolean {
  let holds = false;
  for (const line of readFileSync("/proc/self/smaps", "utf8").split("\n")) {
    const [, begin, end] = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line) ?? [];
    if (begin && end) holds = Number.parseInt(begin, 16) <= address && address < Number.parseInt(end, 16);
    if (holds && line.startsWith("VmFlags:")) return line.split(" ").includes("hg");
  }
  throw new Error(`nothing is mapped at ${address}`);
}

test("they are asked for in a memory and in what it grows by", { skip }, async () => {
  const pool = given.open(1);
  for (const memory of [newSharedMemory(4096), newMemory(4096)]) {
    const base = pool.addressOf(memory);
    assert.equal(isHuge(base), false);
    pool.useHugePages(memory, reservedBytes(memory));
    assert.equal(isHuge(base), true);
    if (reservedBytes(memory) === memory.buffer.byteLength) continue;
    memory.grow(2000);
    new Uint8Array(memory.buffer).fill(1);
    assert.equal(isHuge(base + 2000 * pageBytes), true);
  }
  await pool.close();
});
