/** All commands: their help is there at once, and no flag takes what makes no sense. */
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import process from "node:process";
import test from "node:test";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { llamaPresets } from "@sinan/llm";
import { type Command, helpOf } from "./command.ts";
import { commandNames, commands } from "./commands.ts";
import { camelCase, type Flag, readArguments, readSettings, UsageError } from "./flags.ts";

const main = fileURLToPath(new URL("main.ts", import.meta.url));
const loaded: readonly Command[] = await Promise.all(commandNames.map((name) => commands[name].load()));

function sinan(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [main, ...args], (error, out, err) =>
      resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    );
    child.stdin?.end();
  });
}

test("help takes less than 200 ms of the processor, with an example of each command", () => {
  // Time of the wall is that of the machine's other work, too.
  const atExit = `process.on("exit", () => { const { user, system } = process.cpuUsage();
    process.stderr.write(String((user + system) / 1000)); });`;
  const preload = `data:text/javascript,${encodeURIComponent(atExit)}`;
  for (const args of [["--help"], ...commandNames.map((name) => [name, "--help"])]) {
    const taken: number[] = [];
    for (let i = 0; i < 3 && !(Math.min(...taken) < 200); i++) {
      const { status, stdout, stderr } = spawnSync(process.execPath, ["--import", preload, main, ...args], {
        encoding: "utf8",
        env: { ...process.env, NODE_COMPILE_CACHE: undefined }, // as on the first day
      });
      assert.equal(status, 0);
      assert.match(stdout, new RegExp(`^sinan${args.length > 1 ? ` ${args[0]}` : ""}: .*\\n(.*\\n)+ {2}sinan \\w+`));
      taken.push(Number(stderr));
    }
    assert.ok(Math.min(...taken) < 200, `${args.join(" ")}: ${taken.join(", ")} ms`);
  }
});

test("the list of commands says what each says itself", () => {
  for (const [i, name] of commandNames.entries()) {
    assert.equal(loaded[i]?.name, name);
    assert.ok(
      loaded[i] &&
        helpOf(loaded[i])
          .split("\n")
          .every((line) => line.length <= 140),
      name,
    );
    for (const [line] of loaded[i]?.examples ?? [])
      assert.ok(
        commandNames.some((known) => known === line.split(" ")[0]),
        line,
      );
  }
});

/** What a flag must not take, as words. */
function absurd(known: Flag): fc.Arbitrary<string> {
  if (known.kind === "flag") return fc.string();
  if (known.kind === "choice") return fc.string().filter((s) => !known.values.includes(s));
  if (!("least" in known)) return fc.constantFrom("", "\0", "a\0b");
  const { kind, least, most } = known;
  const wild = ["", " ", "NaN", "Infinity", "-Infinity", "1e999", "0x10", "1_000", "one", "--", "1 2", "٣", "½", "1,5"];
  const outside = fc.double({ noNaN: true }).filter((x) => x < least || x > most);
  const broken = fc.double({ min: least, max: Math.min(most, 1e6), noNaN: true }).filter((x) => x % 1 !== 0);
  return fc.oneof(
    fc.constantFrom(...wild),
    outside.map(String),
    fc.string().filter((s) => Number.isNaN(Number(s.trim() === "" ? "x" : s))),
    ...(kind === "whole" ? [broken.map(String)] : []),
  );
}

test("no flag of any command takes an absurd value: one clear line with the flag's name", () => {
  let tried = 0;
  for (const { name, flags, words } of loaded)
    for (const [flag, known] of Object.entries(flags))
      fc.assert(
        fc.property(absurd(known), (value) => {
          const refused = (error: unknown): boolean => {
            if (!(error instanceof UsageError)) return false;
            const [line = "", ...rest] = error.message.split("\n");
            return line.startsWith(`sinan ${name}: --${flag}`) && line.length < 1000 && rest.length <= 1;
          };
          tried++;
          assert.throws(() => readArguments(name, flags, [`--${flag}=${value}`], words), refused);
          if (known.kind === "flag") return;
          assert.throws(
            () => readSettings("file", flags, { [camelCase(flag)]: known.kind === "texts" ? [value] : value }),
            UsageError,
          );
        }),
        { numRuns: 40 },
      );
  assert.ok(tried > 2000);
});

test("the program ends with 2 for an absurd flag of each command, and says it in a line or two", async () => {
  await Promise.all(
    loaded.map(async ({ name, flags }) => {
      const number = Object.entries(flags).find(([, { kind }]) => kind === "whole" || kind === "real");
      const args = number ? [name, `--${number[0]}`, "-1e400"] : [name, "--json=maybe"];
      const { code, out, err } = await sinan(...args);
      assert.deepEqual([code, out], [2, ""], err);
      assert.match(err, /^UsageError: [^\n]*\n( {2}[^\n]*\n)?$/);
      const typo = await sinan(name, "--halp");
      assert.deepEqual([typo.code, typo.out], [2, ""]);
      assert.match(typo.err, /there is no flag --halp\n {2}Did you mean --help\?/);
    }),
  );
});

test("presets are shown with their figures", async () => {
  const { code, out } = await sinan("inspect", "--json");
  assert.equal(code, 0);
  const shown = JSON.parse(out) as Record<string, { parameters: number }>;
  assert.deepEqual(Object.keys(shown), Object.keys(llamaPresets));
  assert.equal(shown["llama-7b"]?.parameters, 6_738_415_616);
});
