import assert from "node:assert/strict";
import test from "node:test";
import { trainCommand } from "./commands/train.ts";
import { nearest, readFlags, UsageError } from "./flags.ts";

const trainFlags = trainCommand.flags;

const usage = (message: RegExp) => (error: unknown) => error instanceof UsageError && message.test(error.message);

test("flags come back with their kinds, in either spelling", () => {
  const args = ["--steps", "40", "--lr=1e-3", "--data", "a b.txt", "--resume", "--json"];
  assert.deepEqual(readFlags("train", trainFlags, args), {
    steps: 40,
    lr: 1e-3,
    data: "a b.txt",
    resume: true,
    json: true,
  });
  assert.deepEqual(readFlags("train", trainFlags, []), {});
});

test("absurd numbers are refused, naming flag, range and what came", () => {
  for (const value of ["0", "-1", "1e99", "NaN", "Infinity", "abc", "", " ", "1.5", "0x10", "1_000", "5 ", "--json"]) {
    const expected = usage(/^sinan train: --steps: expected a whole number from 1 to 1000000000, got /);
    assert.throws(() => readFlags("train", trainFlags, ["--steps", value]), expected, value);
  }
  for (const value of ["0", "-1e-3", "1e99", "NaN", "fast"]) {
    assert.throws(
      () => readFlags("train", trainFlags, ["--lr", value]),
      usage(/--lr: expected a number from 1e-12 to 10/),
      value,
    );
  }
  for (const name of ["batch", "seq", "vocab", "checkpoint-every", "evaluate-every"]) {
    assert.throws(
      () => readFlags("train", trainFlags, [`--${name}`, "0"]),
      usage(new RegExp(`--${name}: expected a whole number`)),
    );
    assert.throws(
      () => readFlags("train", trainFlags, [`--${name}`, "1e10"]),
      usage(new RegExp(`--${name}: expected a whole number`)),
    );
  }
  assert.throws(() => readFlags("train", trainFlags, ["--steps"]), usage(/--steps: expected .* got nothing/));
  assert.throws(() => readFlags("train", trainFlags, ["--data="]), usage(/--data: expected FILE, got nothing/));
  assert.throws(() => readFlags("train", trainFlags, ["--json=yes"]), usage(/--json takes no value, got "yes"/));
});

test("unknown and repeated flags and stray words are refused, with what was probably meant", () => {
  const cases: [string[], RegExp][] = [
    [["--step", "5"], /there is no flag --step\n {2}Did you mean --steps\?/],
    [["--sedd", "5"], /Did you mean --seed\?/],
    [["--checkpoint-evry=5"], /Did you mean --checkpoint-every\?/],
    [["--frobnicate"], /there is no flag --frobnicate\n {2}sinan train --help lists the flags/],
    [["-x"], /there is no flag -x/],
    [["--constructor"], /there is no flag --constructor/],
    [["--__proto__", "1"], /there is no flag --__proto__/],
    [["--no-json"], /there is no flag --no-json/],
    [["--seed", "1", "--seed", "2"], /--seed is given twice/],
    [["moby.txt"], /"moby\.txt" is not a flag/],
    [["--", "moby.txt"], /"moby\.txt" is not a flag/],
  ];
  for (const [args, message] of cases)
    assert.throws(() => readFlags("train", trainFlags, args), usage(message), args.join(" "));
});

test("a name is only suggested if it is near", () => {
  const names = ["steps", "seed", "checkpoint-every"];
  assert.deepEqual(
    ["setps", "SEED", "checkpointevery", "zzz", ""].map((typed) => nearest(typed, names)),
    ["steps", "seed", "checkpoint-every", undefined, undefined],
  );
});
