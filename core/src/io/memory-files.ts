/** Files in memory: for browsers without storage and for tests. It keeps apart what is live and what would survive a power
 *  loss, as POSIX promises it and no more: content not yet fsynced may be kept, lost or torn, and entries of a directory
 *  persist in order but only up to its last fsync for sure. Faults are injected per storage step. */

import { FileError } from "../errors.ts";
import { type Chunks, fileError, type FileLock, type Files } from "./files.ts";

/** One change of storage, as the fault hook sees it. `index` counts from 0. */
export interface StorageStep {
  readonly index: number;
  readonly op: "create" | "append" | "fsync" | "rename" | "remove" | "mkdir" | "fsyncDirectory" | "lock" | "unlock";
  readonly path: string;
  /** Bytes of an append, otherwise 0. */
  readonly bytes: number;
}

/** What goes wrong at a step: it fails with a system code, having written the first `written` bytes if it is an append; or
 *  the power fails just before it. */
export type Fault = { readonly fail: string; readonly written?: number } | "crash";

/** Answers a question of `crash`: any whole number from 0 to `count - 1`. */
export type Choose = (count: number) => number;

/** Files in memory, for tests and for pages: those of one object are seen by nobody else. */
export interface MemoryFiles extends Files {
  /** Called before each step; may be replaced at any time. */
  fault: ((step: StorageStep) => Fault | undefined) | undefined;
  /** Steps taken so far. */
  readonly steps: number;
  /** Power loss and restart: keeps what was durable and, of the rest, as much as `choose` says (`() => 0` loses all of it,
   *  `(n) => n - 1` keeps it). Locks are gone. */
  crash(choose: Choose): void;
  /** What that restart would find, as files of their own: one crash, looked at with more than one choice. */
  afterCrash(choose: Choose): MemoryFiles;
}

/** Thrown by every operation after a crash and before the restart. Not a FileError: nothing may handle it. */
export class PowerLoss extends Error {}

interface FileNode {
  live: Uint8Array;
  durable: Uint8Array;
}

interface DirectoryNode {
  entries: Map<string, Entry>;
  durable: Map<string, Entry>;
  /** Changes since the last fsync, in order: a name and what it stands for now. */
  pending: { name: string; entry: Entry | undefined }[][];
}

type Entry = { kind: "file"; node: FileNode } | { kind: "directory"; node: DirectoryNode };

const emptyDirectory = (): DirectoryNode => ({ entries: new Map(), durable: new Map(), pending: [] });

/** An empty tree.
 *
 *  @param capacity  bytes of file content it can hold; a write beyond them fails with ENOSPC */
export function memoryFiles({ capacity = Number.POSITIVE_INFINITY }: { capacity?: number } = {}): MemoryFiles {
  return filesIn(emptyDirectory(), capacity);
}

function filesIn(tree: DirectoryNode, capacity: number): MemoryFiles {
  let root = tree;
  let steps = 0;
  let down = false;
  let locks = new Set<string>();

  const parts = (path: string): string[] => path.split("/").filter((part) => part !== "" && part !== ".");

  const find = (path: string): Entry | undefined => {
    let entry: Entry | undefined = { kind: "directory", node: root };
    for (const part of parts(path)) entry = entry?.kind === "directory" ? entry.node.entries.get(part) : undefined;
    return entry;
  };
  const entryAt = (action: string, path: string): Entry => {
    const entry = find(path);
    if (entry === undefined) throw fileError(action, path, "ENOENT");
    return entry;
  };
  const fileAt = (action: string, path: string): FileNode => {
    const entry = entryAt(action, path);
    if (entry.kind === "directory") throw fileError(action, path, "EISDIR");
    return entry.node;
  };
  const directoryAt = (action: string, path: string): DirectoryNode => {
    const entry = entryAt(action, path);
    if (entry.kind === "file") throw fileError(action, path, "ENOTDIR");
    return entry.node;
  };
  /** The directory that holds `path`, and the last part's name. */
  const place = (action: string, path: string): { parent: DirectoryNode; name: string } => {
    const all = parts(path);
    const name = all.pop();
    if (name === undefined) throw fileError(action, path, "EISDIR");
    const parent = find(all.join("/"));
    if (parent?.kind !== "directory") throw fileError(action, path, parent === undefined ? "ENOENT" : "ENOTDIR");
    return { parent: parent.node, name };
  };
  const change = (directory: DirectoryNode, changes: { name: string; entry: Entry | undefined }[]): void => {
    for (const { name, entry } of changes) apply(directory.entries, name, entry);
    directory.pending.push(changes);
  };

  const running = (): void => {
    if (down) throw new PowerLoss("the power is off");
  };
  /** Counts a step and asks for its fault; returns how many bytes an append may write before it fails with `fail`. */
  const step = (action: string, op: StorageStep["op"], path: string, bytes = 0): { fail?: string; written: number } => {
    running();
    const fault = files.fault?.({ index: steps, op, path, bytes });
    steps++;
    if (fault === "crash") {
      down = true;
      throw new PowerLoss(`power loss at step ${steps - 1}: ${op} ${path}`);
    }
    if (fault === undefined) return { written: bytes };
    if (op !== "append") throw fileError(action, path, fault.fail);
    return { fail: fault.fail, written: Math.min(fault.written ?? 0, bytes) };
  };
  const used = (directory: DirectoryNode): number => {
    let sum = 0;
    for (const entry of directory.entries.values()) {
      sum += entry.kind === "file" ? entry.node.live.length : used(entry.node);
    }
    return sum;
  };

  const write = async (path: string, chunks: Chunks): Promise<void> => {
    const { parent, name } = place("write", path);
    if (parent.entries.get(name)?.kind === "directory") throw fileError("write", path, "EISDIR");
    step("write", "create", path);
    const node: FileNode = { live: new Uint8Array(0), durable: new Uint8Array(0) };
    change(parent, [{ name, entry: { kind: "file", node } }]);
    for await (const chunk of chunks) {
      const { fail, written } = step("write", "append", path, chunk.length);
      const room = Math.max(0, Math.min(written, capacity - used(root)));
      const grown = new Uint8Array(node.live.length + room);
      grown.set(node.live);
      grown.set(chunk.subarray(0, room), node.live.length);
      node.live = grown;
      if (fail !== undefined || room < written) throw fileError("write", path, fail ?? "ENOSPC");
    }
    step("write", "fsync", path);
    node.durable = node.live;
  };

  const rename = (from: string, to: string): void => {
    const action = `rename to ${to}:`;
    const source = place(action, from);
    const target = place(action, to);
    const entry = source.parent.entries.get(source.name);
    if (entry === undefined) throw fileError(action, from, "ENOENT");
    const old = target.parent.entries.get(target.name);
    if (old !== undefined && old.kind !== entry.kind) {
      throw fileError(action, from, old.kind === "directory" ? "EISDIR" : "ENOTDIR");
    }
    if (old?.kind === "directory" && old.node.entries.size > 0) throw fileError(action, from, "ENOTEMPTY");
    step(action, "rename", from);
    const arrival = { name: target.name, entry };
    const departure = { name: source.name, entry: undefined };
    if (source.parent === target.parent) change(source.parent, [departure, arrival]);
    else {
      change(target.parent, [arrival]);
      change(source.parent, [departure]);
    }
  };

  /** Depth first and one entry a step, as a recursive removal does it; a crash leaves it half done. */
  const remove = (path: string): void => {
    const entry = find(path);
    if (entry === undefined) return;
    if (entry.kind === "directory") for (const name of entry.node.entries.keys()) remove(`${path}/${name}`);
    const { parent, name } = place("remove", path);
    step("remove", "remove", path);
    change(parent, [{ name, entry: undefined }]);
  };

  const mkdir = (path: string): void => {
    let directory = root;
    let so = path.startsWith("/") ? "/" : "";
    for (const part of parts(path)) {
      so += so === "" || so === "/" ? part : `/${part}`;
      const entry = directory.entries.get(part);
      if (entry?.kind === "file") throw fileError("create the directory", path, "EEXIST");
      if (entry === undefined) {
        step("create the directory", "mkdir", so);
        const node = emptyDirectory();
        change(directory, [{ name: part, entry: { kind: "directory", node } }]);
        step("create the directory", "fsyncDirectory", so);
        settle(directory);
        directory = node;
      } else directory = entry.node;
    }
  };

  const lock = (path: string): FileLock => {
    const { parent, name } = place("lock", path);
    step("lock", "lock", path);
    const key = parts(path).join("/");
    if (locks.has(key)) throw lockedError(path, "this program");
    const owners = locks;
    owners.add(key);
    change(parent, [{ name, entry: { kind: "file", node: { live: new Uint8Array(0), durable: new Uint8Array(0) } } }]);
    return {
      release: () =>
        later(() => {
          running();
          if (!owners.delete(key) || owners !== locks) return;
          step("unlock", "unlock", path);
          change(parent, [{ name, entry: undefined }]);
        }),
    };
  };

  const files: MemoryFiles = {
    fault: undefined,
    get steps() {
      return steps;
    },
    read: (path) => later(() => (running(), fileAt("read", path).live.slice())),
    readRange: (path, offset, length) =>
      later(() => {
        running();
        const { live } = fileAt("read", path);
        if (offset + length > live.length) throw fileError(`read ${length} bytes at ${offset} of`, path, "EOF");
        return live.slice(offset, offset + length);
      }),
    write: (path, chunks) => later(() => write(path, chunks)),
    open: (path) =>
      later(() => {
        running();
        const { live } = fileAt("open", path);
        return {
          size: live.length,
          read: (offset, length) =>
            later(() => {
              running();
              if (offset + length > live.length) throw fileError(`read ${length} bytes at ${offset} of`, path, "EOF");
              return live.slice(offset, offset + length);
            }),
          close: () => Promise.resolve(),
        };
      }),
    rename: (from, to) => later(() => rename(from, to)),
    remove: (path) => later(() => remove(path)),
    list: (path) => later(() => (running(), [...directoryAt("list", path).entries.keys()].sort())),
    mkdir: (path) => later(() => mkdir(path)),
    exists: (path) => later(() => (running(), find(path) !== undefined)),
    stat: (path) =>
      later(() => {
        running();
        const entry = entryAt("look at", path);
        return { kind: entry.kind, size: entry.kind === "file" ? entry.node.live.length : 0, modified: null };
      }),
    fsyncDirectory: (path) =>
      later(() => {
        const directory = directoryAt("fsync", path);
        step("fsync", "fsyncDirectory", path);
        settle(directory);
      }),
    lock: (path) => later(() => lock(path)),
    crash(choose) {
      root = afterCrash(root, choose, new Map());
      locks = new Set();
      down = false;
    },
    afterCrash: (choose) => filesIn(afterCrash(root, choose, new Map()), capacity),
  };
  return files;
}

/** The error of a lock that somebody has. */
export function lockedError(path: string, owner: string): FileError {
  return new FileError(`cannot lock ${path}: ${owner} has it (EEXIST)`, {
    path,
    code: "EEXIST",
    hint: "Wait for it to end or choose another directory; if nobody uses this one any more, remove the lock file.",
  });
}

/** What is found after a power loss: a prefix of the pending changes of each directory, torn content of each file. A node
 *  may be reachable by two names (a rename between directories), so each is settled once. */
function afterCrash(directory: DirectoryNode, choose: Choose, seen: Map<object, Entry["node"]>): DirectoryNode {
  const known = seen.get(directory);
  if (known !== undefined) return known as DirectoryNode;
  const after = emptyDirectory();
  seen.set(directory, after);
  const entries = new Map(directory.durable);
  const kept = choose(directory.pending.length + 1);
  for (const changes of directory.pending.slice(0, kept)) {
    for (const { name, entry } of changes) apply(entries, name, entry);
  }
  for (const [name, entry] of entries) {
    if (entry.kind === "directory") {
      after.entries.set(name, { kind: "directory", node: afterCrash(entry.node, choose, seen) });
      continue;
    }
    const node = (seen.get(entry.node) ?? tornFile(entry.node, choose)) as FileNode;
    seen.set(entry.node, node);
    after.entries.set(name, { kind: "file", node });
  }
  settle(after);
  return after;
}

/** Nothing, a prefix, the right length with zeros at the end, or all of it. */
function tornFile({ live, durable }: FileNode, choose: Choose): FileNode {
  const settled = (bytes: Uint8Array): FileNode => ({ live: bytes, durable: bytes });
  if (live === durable) return settled(live);
  const prefix = (): Uint8Array => live.slice(0, choose(live.length + 1));
  switch (choose(4)) {
    case 0:
      return settled(durable);
    case 1:
      return settled(prefix());
    case 2: {
      const holed = new Uint8Array(live.length);
      holed.set(prefix());
      return settled(holed);
    }
    default:
      return settled(live);
  }
}

function settle(directory: DirectoryNode): void {
  directory.durable = new Map(directory.entries);
  directory.pending = [];
}

function apply(entries: Map<string, Entry>, name: string, entry: Entry | undefined): void {
  if (entry === undefined) entries.delete(name);
  else entries.set(name, entry);
}

/** Runs in a later microtask, as storage would, and turns a throw into a rejection. */
async function later<T>(work: () => T | Promise<T>): Promise<T> {
  await Promise.resolve();
  return work();
}
