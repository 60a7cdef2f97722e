/** The private cache: where it is and whom it trusts, what it does with entries that are not what they were, how large it becomes. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs, {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { ArgumentError } from "sinan/south";
import { entryFile, keyOf, sumOf } from "./entries.ts";
import { inCache, noShell as skip, temporary } from "../toolchain/fake-compiler.fixture.ts";
import type { FileLayer } from "./file-layer.ts";
import { cachePath } from "./private-directory.ts";
import { openStore, type Store, type StoreOptions } from "./store.ts";

const folder = temporary();
let count = 0;
const newPath = (): string => path.join(folder, `d${count++}`);

function open(
  directory: string,
  options: StoreOptions & { readonly megabytes?: number } = {},
): Store & { warnings: string[] } {
  const warnings: string[] = [];
  const environment = { SINAN_CACHE: directory, SINAN_CACHE_MB: options.megabytes?.toString() };
  return { ...openStore({ environment, onWarning: (line) => warnings.push(line), ...options }), warnings };
}

/** Makes an entry with this content, which is its key too. */
async function keep(store: Store, content: string): Promise<string> {
  const place = store.workplace();
  const file = path.join(place.path, "made");
  writeFileSync(file, content);
  const kept = await store.keep(place, file, Buffer.from(content), { name: "x", key: keyOf(content), extension: "so" });
  place.close();
  return kept;
}

const lookUp = (store: Store, content: string): string | undefined => store.find([keyOf(content)])[0]?.path;

test("the directory is where the system has its caches, or where SINAN_CACHE says", () => {
  const home = { HOME: "/home/ada" };
  assert.equal(cachePath(home, "linux"), "/home/ada/.cache/sinan/native");
  assert.equal(cachePath({ ...home, XDG_CACHE_HOME: "/var/ada" }, "linux"), "/var/ada/sinan/native");
  assert.equal(cachePath({ ...home, XDG_CACHE_HOME: "relative" }, "linux"), "/home/ada/.cache/sinan/native");
  assert.equal(cachePath({ ...home, XDG_CACHE_HOME: "/x" }, "darwin"), "/home/ada/Library/Caches/sinan/native");
  assert.equal(cachePath({ LOCALAPPDATA: "/c/local" }, "win32"), path.join("/c/local", "sinan", "native"));
  assert.equal(cachePath({ ...home, SINAN_CACHE: "here" }, "linux"), path.resolve("here"));
});

test("an entry is found by another process's store, and only by its key", { skip }, async () => {
  const directory = path.join(newPath(), "a", "b");
  const store = open(directory);
  assert.equal(statSync(directory).mode & 0o777, 0o700);
  const kept = await keep(store, "content");
  assert.equal(statSync(kept).mode & 0o777, 0o600);
  const other = open(directory);
  assert.equal(lookUp(other, "content"), kept);
  assert.equal(lookUp(other, "contents"), undefined);
  assert.deepEqual(other.find([keyOf("contents"), keyOf("content")])[1]?.bytes.toString(), "content");
  assert.deepEqual(inCache(directory), [path.relative(directory, kept)]);
  assert.deepEqual([...store.warnings, ...other.warnings], []);
});

const damages: readonly (readonly [what: string, damage: (file: string) => void])[] = [
  ["with another byte", (file) => writeFileSync(file, "Content")],
  ["cut short", (file) => writeFileSync(file, "conten")],
  ["empty", (file) => writeFileSync(file, "")],
  ["that others may write to", (file) => chmodSync(file, 0o620)],
  [
    "that is a link to a whole one",
    (file) => {
      renameSync(file, `${file}.moved`);
      symlinkSync(`${file}.moved`, file);
    },
  ],
  [
    "that is a directory",
    (file) => {
      rmSync(file);
      mkdirSync(file);
    },
  ],
  [
    "that is a pipe",
    (file) => {
      rmSync(file);
      assert.equal(spawnSync("/bin/sh", ["-c", `mkfifo -m 600 '${file}'`]).status, 0);
    },
  ],
  ...(process.getuid?.() === 0 ? [["of another user", (file: string) => chownSync(file, 1234, 1234)] as const] : []),
];
for (const [what, damage] of damages)
  test(`an entry ${what} is removed and made again`, { skip }, async () => {
    const directory = newPath();
    const file = await keep(open(directory), "content");
    damage(file);
    const store = open(directory);
    assert.equal(lookUp(store, "content"), undefined);
    assert.ok(!inCache(directory).includes(path.relative(directory, file)));
    assert.equal(await keep(store, "content"), file);
    assert.equal(lookUp(open(directory), "content"), file);
  });

test("of two entries of one key, the whole one is found", { skip }, async () => {
  const directory = newPath();
  const store = open(directory);
  const file = await keep(store, "content");
  const names = ["0", "f"].map((digit) => ({
    name: "x",
    key: keyOf("content"),
    sum: digit.repeat(64),
    extension: "so",
  }));
  for (const name of names) linkSync(file, path.join(directory, entryFile(name)));
  assert.equal(lookUp(store, "content"), file);
});

const untrusted: readonly (readonly [what: string, make: () => string, why: RegExp])[] = [
  [
    "that others may write to",
    () => {
      const directory = newPath();
      mkdirSync(directory);
      chmodSync(directory, 0o777);
      return directory;
    },
    /others may write to/,
  ],
  [
    "in one that others may write to",
    () => {
      const above = newPath();
      mkdirSync(above);
      chmodSync(above, 0o777);
      return path.join(above, "cache");
    },
    /others may write to/,
  ],
  [
    "that is a link to such a one",
    () => {
      const [target, link] = [newPath(), newPath()];
      mkdirSync(target);
      chmodSync(target, 0o777);
      symlinkSync(target, link);
      return link;
    },
    /others may write to/,
  ],
  [
    "that is a file",
    () => {
      const file = newPath();
      writeFileSync(file, "");
      return file;
    },
    /is not a directory/,
  ],
  ["below a file", () => path.join(import.meta.filename, "cache"), /not a directory \(ENOTDIR\)/],
  [
    "that is a link to nothing",
    () => {
      const link = newPath();
      symlinkSync(newPath(), link);
      return link;
    },
    /no such file or directory \(ENOENT\)/,
  ],
  ...(process.getuid?.() === 0
    ? ([
        [
          "of another user",
          () => {
            const directory = newPath();
            mkdirSync(directory);
            chownSync(directory, 1234, 1234);
            return directory;
          },
          /belongs to another user \(1234\)/,
        ],
        [
          "in another user's",
          () => {
            const home = newPath();
            mkdirSync(home);
            chownSync(home, 1234, 1234);
            return path.join(home, "cache");
          },
          /belongs to another user \(1234\)/,
        ],
      ] as const)
    : []),
];
for (const [what, make, why] of untrusted)
  test(`a directory ${what} is not used`, { skip }, async () => {
    const directory = make();
    const there = existsSync(directory) && statSync(directory).isDirectory();
    const store = open(directory);
    assert.equal(store.directory, undefined);
    assert.equal(store.warnings.length, 1);
    assert.match(store.warnings[0] ?? "", why);
    assert.doesNotMatch(store.warnings[0] ?? "", /\n/);
    const kept = await keep(store, "content");
    assert.equal(lookUp(store, "content"), kept);
    assert.equal(store.warnings.length, 1);
    if (there) assert.deepEqual(readdirSync(directory), []);
    else assert.ok(!existsSync(path.join(directory, "x")));
  });

test("a directory that is a link to one's own is used where it really is", { skip }, async () => {
  const [target, link] = [newPath(), newPath()];
  mkdirSync(target, { mode: 0o755 });
  symlinkSync(target, link);
  const store = open(link);
  assert.equal(path.dirname(path.dirname(await keep(store, "content"))), fs.realpathSync(target));
});

/** What a disk says that is full, or read-only, at one call. */
function failing(call: "mkdtempSync" | "renameSync" | "fsync" | "futimesSync", code: string, words: string): FileLayer {
  const error = (): Error => Object.assign(new Error(`${code}: ${words}, ${call} '/x'`), { code, syscall: call });
  if (call === "fsync") {
    const fsync = (_: number, done: (error: Error) => void): void => done(error());
    return { ...fs, fsync: fsync as typeof fs.fsync };
  }
  return {
    ...fs,
    [call]: (...args: [string]) => {
      // Elsewhere there is room.
      if (call === "mkdtempSync" && !args[0].startsWith(folder)) return fs.mkdtempSync(...args);
      throw error();
    },
  };
}

const full: readonly [call: Parameters<typeof failing>[0], code: string, words: string][] = [
  ["mkdtempSync", "ENOSPC", "no space left on device"],
  ["mkdtempSync", "EROFS", "read-only file system"],
  ["mkdtempSync", "EACCES", "permission denied"],
  ["fsync", "ENOSPC", "no space left on device"],
  ["fsync", "EDQUOT", "disk quota exceeded"],
  ["renameSync", "EROFS", "read-only file system"],
];
for (const [call, code, words] of full)
  test(`${code} at ${call}: what was there is found, what is new is kept for this run`, { skip }, async () => {
    const directory = newPath();
    const old = await keep(open(directory), "old");
    const store = open(directory, { files: failing(call, code, words) });
    assert.equal(lookUp(store, "old"), old);
    const fresh = await keep(store, "new");
    assert.ok(!fresh.startsWith(folder) && readFileSync(fresh, "utf8") === "new");
    assert.equal(lookUp(store, "new"), fresh);
    assert.notEqual(await keep(store, "newer"), fresh);
    assert.deepEqual(inCache(directory), [path.relative(directory, old)]);
    assert.deepEqual(store.warnings, [
      `the native cache ${directory} is not used: ${words} (${code}); what is compiled is kept for this run only`,
    ]);
    store.trim();
    assert.ok(existsSync(old));
    assert.equal(lookUp(open(directory), "new"), undefined);
  });

test("a directory that can only be read serves what it has", { skip }, async () => {
  const directory = newPath();
  const old = await keep(open(directory), "old");
  const store = open(directory, { files: failing("futimesSync", "EROFS", "read-only file system") });
  assert.equal(lookUp(store, "old"), old);
  assert.deepEqual(store.warnings, []);
});

test("what was not used for longest goes first, and nothing that is in use or not the cache's", { skip }, async () => {
  const directory = newPath();
  const first = open(directory, { megabytes: 0.05 });
  const kibibytes10 = (text: string): string => text.padEnd(10 * 1024);
  const files: string[] = [];
  // As another process would leave them: this one has not been given them.
  for (const [i, text] of ["a", "b", "c", "d", "e", "f", "g"].map(kibibytes10).entries()) {
    const file = path.join(directory, entryFile({ name: "x", key: keyOf(text), sum: sumOf(text), extension: "so" }));
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, text, { mode: 0o600 });
    utimesSync(file, 1e9 + i, 1e9 + i);
    files.push(file);
  }
  const own = ["notes.txt", "x.so", ".hidden"].map((name) => path.join(directory, name));
  for (const file of own) writeFileSync(file, kibibytes10(file));
  assert.equal(lookUp(first, kibibytes10("a")), files[0]); // the oldest is used now
  first.trim();
  const left = (): string[] =>
    files.filter((file) => existsSync(file)).map((file) => readFileSync(file, "utf8")[0] ?? "");
  assert.deepEqual(left(), ["a", "e", "f", "g"]);
  first.trim();
  assert.deepEqual(left(), ["a", "e", "f", "g"], "there is room now");
  open(directory, { megabytes: 0.001 }).trim();
  assert.deepEqual(left(), ["a"]);
  assert.ok(own.every((file) => existsSync(file)));
});

test("a lookup reads few names of a cache that has many, and entries that lie beside the folders go like others", {
  skip,
}, () => {
  const directory = newPath();
  let read = 0;
  const readdirSync = ((of: string) => {
    const names = fs.readdirSync(of);
    read += names.length;
    return names;
  }) as typeof fs.readdirSync;
  const store = open(directory, { megabytes: 0.001, files: { ...fs, readdirSync } });
  const texts = Array.from({ length: 2000 }, (_, i) => `text ${i}`);
  store.note(
    texts.map((text) => ({ made: { name: "x", key: keyOf(text), extension: "json" }, bytes: Buffer.from(text) })),
  );
  const old = path.join(
    directory,
    path.basename(entryFile({ name: "x", key: "0".repeat(40), sum: sumOf("y"), extension: "so" })),
  );
  writeFileSync(old, "y", { mode: 0o600 });
  utimesSync(old, 1e9, 1e9);
  assert.ok(lookUp(store, "text 7") !== undefined);
  assert.ok(read > 0 && read < 50, `${read} names`);
  store.trim();
  assert.ok(!existsSync(old) && inCache(directory).length < 200);
  assert.ok(lookUp(store, "text 7") !== undefined, "it is in use");
});

test("directories of programs that were killed go after an hour", { skip }, () => {
  const directory = newPath();
  const store = open(directory);
  const gone = spawnSync(process.execPath, ["--version"]).pid;
  const make = (name: string, hours: number): string => {
    mkdirSync(path.join(directory, name, "below"), { recursive: true });
    const then = Date.now() / 1000 - hours * 3600;
    lutimesSync(path.join(directory, name), then, then);
    return name;
  };
  make(`work-${gone}-aaaaaa`, 2);
  make(`work-${process.pid}-aaaaab`, 30);
  const stay = [
    make(`work-${gone}-aaaaac`, 0.5),
    make(`work-${process.pid}-aaaaad`, 2),
    make(`work-${gone}-mine`, 99),
    make("work", 99),
  ];
  store.trim();
  assert.deepEqual(readdirSync(directory).sort(), stay.sort());
});

test("SINAN_CACHE_MB: 0 keeps nothing, and says nothing; what is no number is refused", { skip }, async () => {
  const directory = newPath();
  const store = open(directory, { megabytes: 0 });
  const kept = await keep(store, "content");
  assert.equal(lookUp(store, "content"), kept);
  assert.ok(!existsSync(directory));
  assert.deepEqual(store.warnings, []);
  for (const wrong of ["much", "-1", "Infinity"])
    assert.throws(() => openStore({ environment: { SINAN_CACHE: directory, SINAN_CACHE_MB: wrong } }), ArgumentError);
});

test("a directory where none can be made is no cache", { skip: process.platform !== "linux" }, () => {
  const lines: string[] = [];
  const environment = { SINAN_CACHE: "/proc/self/sinan/native" };
  assert.equal(openStore({ environment, onWarning: (line) => lines.push(line) }).directory, undefined);
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? "", /cannot be made or read: .*ENOENT/);
});
