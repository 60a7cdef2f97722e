/** A lock file that says who holds it, so that one left by a killed program does not have to be removed by hand. It appears
 *  with its content in one step (a hard link), and a stale one is taken away only by the holder of a second lock, after
 *  looking again: of two programs that find it stale, one gets it. */

import { randomUUID } from "node:crypto";
import { constants, copyFile, link, open, readFile, stat, unlink } from "node:fs/promises";
import { hostname } from "node:os";
import { FileError, type FileLock, lockedError } from "sinan";
import { codeOf } from "./system-error.ts";

/** Who holds a lock. `started` tells a process from a later one with the same id; null where the system does not say. */
interface Owner {
  readonly id: string;
  readonly pid: number;
  readonly started: string | null;
  readonly host: string;
}

/** Longer than any writer needs between creating a file and filling it, where hard links are missing. */
const unreadableIsStaleMs = 5000;

/** Takes the lock at `path`.
 *
 *  @throws FileError with code EEXIST if a running process, or one on another machine, has it */
export async function lockFile(path: string): Promise<FileLock> {
  const owner: Owner = {
    id: randomUUID(),
    pid: process.pid,
    started: (await processOf(process.pid))?.started ?? null,
    host: hostname(),
  };
  await take(path, owner, 0);
  return { release: () => release(path, owner) };
}

async function take(path: string, owner: Owner, depth: number): Promise<void> {
  for (let attempt = 0; attempt < 20; attempt++) {
    if (await create(path, owner)) return;
    const seen = await holder(path);
    if (seen === undefined) continue; // released in between
    const live = await describeIfLive(seen);
    if (live !== undefined || depth > 2) throw lockedError(path, live ?? "another program");
    const second = `${path}.takeover`;
    await take(second, owner, depth + 1).catch((error: unknown) => {
      throw error instanceof FileError && error.code === "EEXIST" ? lockedError(path, "another program") : error;
    });
    try {
      const now = await holder(path);
      if (now?.text === seen.text) await unlinkIfThere(path);
    } finally {
      await release(second, owner);
    }
  }
  throw lockedError(path, "another program");
}

/** Creates the lock with its content, or returns false if there is one. */
async function create(path: string, owner: Owner): Promise<boolean> {
  const draft = `${path}.${owner.id}`;
  const file = await open(draft, "wx");
  try {
    await file.writeFile(`${JSON.stringify(owner)}\n`);
    await file.close();
    await link(draft, path).catch(async (error: unknown) => {
      if (codeOf(error) === "EEXIST") throw error;
      await copyFile(draft, path, constants.COPYFILE_EXCL); // a file system without hard links
    });
    return true;
  } catch (error) {
    if (codeOf(error) === "EEXIST") return false;
    throw error;
  } finally {
    await file.close().catch(() => undefined);
    await unlinkIfThere(draft);
  }
}

interface Holder {
  readonly text: string;
  readonly owner: Owner | undefined;
  readonly ageMs: number;
}

async function holder(path: string): Promise<Holder | undefined> {
  try {
    const text = await readFile(path, "utf8");
    const { mtimeMs } = await stat(path);
    return { text, owner: ownerOf(text), ageMs: Date.now() - mtimeMs };
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

function ownerOf(text: string): Owner | undefined {
  try {
    const { id, pid, started, host } = JSON.parse(text) as Partial<Record<keyof Owner, unknown>>;
    if (typeof id !== "string" || typeof host !== "string" || !Number.isSafeInteger(pid) || Number(pid) < 1)
      return undefined;
    return { id, pid: Number(pid), started: typeof started === "string" ? started : null, host };
  } catch {
    return undefined;
  }
}

/** Words for the error if the holder may be alive, undefined if it is dead. */
async function describeIfLive({ owner, ageMs }: Holder): Promise<string | undefined> {
  if (owner === undefined) return ageMs < unreadableIsStaleMs ? "a program that is starting" : undefined;
  if (owner.host !== hostname()) return `process ${owner.pid} on ${owner.host}`;
  if (!isRunning(owner.pid)) return undefined;
  const other = await processOf(owner.pid);
  if (other?.ended || (other && owner.started !== null && other.started !== owner.started)) return undefined;
  return owner.pid === process.pid ? "this process" : `process ${owner.pid}`;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === "EPERM"; // somebody else's, so it runs
  }
}

/** When a process started (ticks since boot, with the boot's id) and whether it has ended but is still listed, from
 *  Linux's /proc; undefined elsewhere. */
async function processOf(pid: number): Promise<{ started: string; ended: boolean } | undefined> {
  try {
    const line = await readFile(`/proc/${pid}/stat`, "utf8");
    const boot = await readFile("/proc/sys/kernel/random/boot_id", "utf8");
    // The name in parentheses may hold spaces; after it come field 3, the state, and so on to 22, the start (proc(5)).
    const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
    const [state, ticks] = [fields[0], fields[19]];
    return ticks === undefined
      ? undefined
      : { started: `${boot.trim()}:${ticks}`, ended: state === "Z" || state === "X" };
  } catch {
    return undefined;
  }
}

async function release(path: string, owner: Owner): Promise<void> {
  const seen = await holder(path);
  if (seen?.owner?.id === owner.id) await unlinkIfThere(path);
}

async function unlinkIfThere(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
  }
}
