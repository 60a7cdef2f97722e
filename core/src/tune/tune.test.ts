/** Searches over schedules, with times that are told instead of taken; what any choice computes; and the file in which choices are kept. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { group, hardware } from "../kernel/kernel.fixture.ts";
import { memoryFiles } from "../io/memory-files.ts";
import { add, dot, mul } from "../ops/build.ts";
import type { Fn } from "../ir/fn.ts";
import { FormatError } from "../errors.ts";
import { type Choices, decisionsOf, meanings, neighbours } from "./choices.ts";
import {
  hardwareKey,
  kernelKey,
  parseTuning,
  readTuning,
  type TuningEntry,
  tuningFile,
  tuningText,
  writeTuning,
} from "./file.ts";
import { agreementOf } from "./measure.ts";
import { keyOf, search, type Search } from "./search.ts";

const product = (m: number, n: number, k: number): Fn =>
  group(
    [
      ["f32", [m, k]],
      ["f32", [k, n]],
    ],
    (a, b) => dot(a, b, { contract: [[1], [0]], batch: [[], []] }),
  );

const open = { hardware, reorder: false };

test("the decisions of a product are found by scheduling it, each with its meaning", () => {
  const group = product(96, 96, 96);
  const decisions = decisionsOf(group, hardware, {});
  for (const name of ["rows", "vectors", "pack", "block"])
    assert.ok(
      decisions.some((d) => d.name === name),
      name,
    );
  for (const { name } of decisions) assert.ok(meanings[name], `${name} has no meaning`);
  assert.deepEqual(
    decisions.find(({ name }) => name === "rows"),
    { name: "rows", otherwise: 6 },
  );
  // What is not packed has nothing to decide about packing.
  assert.ok(!decisionsOf(group, hardware, { pack: 0 }).some(({ name }) => name === "packRows"));
});

test("neighbours differ in one decision or in a tile, fit the registers, and come in one order", () => {
  const group = product(96, 96, 96);
  const list = neighbours({}, decisionsOf(group, hardware, {}), open);
  assert.deepEqual(list, neighbours({}, decisionsOf(group, hardware, {}), open));
  assert.equal(new Set(list.map(keyOf)).size, list.length);
  for (const choices of list) {
    assert.ok((choices["rows"] ?? 6) * (choices["vectors"] ?? 2) < 16, keyOf(choices));
    const names = Object.keys(choices).join();
    assert.ok(!names.includes(",") || names === "rows,vectors", names);
  }
  assert.ok(list.some((choices) => keyOf(choices) === "rows 4, vectors 3"));
  const back = neighbours({ rows: 4 }, decisionsOf(group, hardware, { rows: 4 }), open);
  assert.ok(
    back.some((choices) => keyOf(choices) === ""),
    "the heuristic's own value is no choice",
  );
  const sum = decisionsOf(group, hardware, {}).concat({ name: "parts", otherwise: 8 });
  const isReordered = ({ parts }: Choices): boolean => parts !== undefined;
  assert.ok(!neighbours({}, sum, open).some(isReordered));
  assert.ok(neighbours({}, sum, { hardware, reorder: true }).some(isReordered));
});

/** A search over two numbers from 0 to 9 whose times are a function of them. */
const told = (ms: (a: number, b: number) => number | undefined, more: Partial<Search> = {}): Search => ({
  neighbours: ({ a = 5, b = 5 }) =>
    [
      { a: a + 1, b },
      { a: a - 1, b },
      { a, b: b + 1 },
      { a, b: b - 1 },
    ].filter((c) => Object.values(c).every((v) => v >= 0 && v <= 9)),
  measure: (list) => Promise.resolve(list.map(({ a = 5, b = 5 }) => ms(a, b))),
  beam: 2,
  isOver: () => false,
  ...more,
});

test("a search walks to the best, past what is refused, and ends when a round gains less than a hundredth", async () => {
  const bowl = await search(told((a, b) => (a === 6 && b === 5 ? undefined : 10 + (a - 9) ** 2 + (b - 2) ** 2)));
  assert.deepEqual(bowl?.front[0], { a: 9, b: 2 });
  const measured: string[] = [];
  const slope = told((a) => 100 - a / 10);
  const flat = await search({
    ...slope,
    measure: (list, best) => (measured.push(...list.map(keyOf)), slope.measure(list, best)),
  });
  assert.equal(flat?.tried, 5);
  assert.deepEqual(measured, ["", "a 6, b 5", "a 4, b 5", "a 5, b 6", "a 5, b 4"]);
  assert.equal(await search(told(() => undefined)), undefined);
});

test("a search tells the best time, so that a measurement can end early, and stops between batches when the time is over", async () => {
  const limits: (number | undefined)[] = [];
  const slope = told((a) => 100 - 10 * a);
  let calls = 0;
  const found = await search({
    ...slope,
    isOver: () => calls > 2,
    measure: (list, best) => (calls++, limits.push(best), slope.measure(list, best)),
  });
  assert.deepEqual(limits, [undefined, 50, 40]);
  assert.deepEqual(found?.front[0], { a: 7, b: 5 });
});

const entry = (i: number, choices: Choices = { rows: i + 1 }): TuningEntry => ({
  kernel: i.toString(16).padStart(64, "0"),
  name: `dot_${i}`,
  hardware: "cpu, wasm-simd",
  choices,
  milliseconds: [1.5, 1],
  sameBits: true,
});

test("a file is read as it was written; the last entry of a kernel counts; its hash is that of what it says", async () => {
  const files = memoryFiles();
  const tuning = tuningFile([entry(3), entry(1, {}), entry(2), entry(3, { rows: 8, vectors: 1 })]);
  await writeTuning(files, "sinan-tuning.json", tuning);
  const read = await readTuning(files, "sinan-tuning.json");
  assert.deepEqual(read.entries, tuning.entries);
  assert.deepEqual(
    read.entries.map(({ name, choices }) => [name, keyOf(choices)]),
    [
      ["dot_1", ""],
      ["dot_2", "rows 3"],
      ["dot_3", "rows 8, vectors 1"],
    ],
  );
  assert.equal(read.hash, tuning.hash);
  assert.notEqual(read.hash, tuningFile([entry(3)]).hash);
  assert.equal(tuningFile([{ ...entry(3), milliseconds: [9, 9] }]).hash, tuningFile([entry(3)]).hash);
  assert.deepEqual(parseTuning(tuningText(tuningFile([])), "x").entries, []);
});

test("a damaged file is refused whole, and says what is wrong with it", () => {
  const text = tuningText(tuningFile([entry(1), entry(2)]));
  const refused = (changed: string, why: RegExp): void =>
    assert.throws(
      () => parseTuning(changed, "t.json"),
      (error) => error instanceof FormatError && error.message.startsWith("t.json: ") && why.test(error.message),
    );
  refused(text.replace('"rows":2', '"rows":3'), /digest .* damaged or changed\n? *run sinan tune again/s);
  refused(text.replace('"version": 1', '"version": 2'), /version 2, this Sinan reads 1/);
  refused(text.replace('"schedules": 1', '"schedules": 0'), /schedules 0, this Sinan reads 1/);
  refused(text.replace("sinan-tuning", "other"), /expected "format"/);
  refused(text.slice(0, -20), /not valid JSON/);
  refused("[]", /expected an object/);
  for (const broken of ['"rows":-1', '"rows":1.5', '"rows":"2"', '"rows":1e9'])
    refused(text.replace('"rows":2', broken), /entry 0 is none/);
  refused(text.replace('"sameBits":true', '"sameBits":true,"more":1'), /entry 0 is none/);
  refused(text.replaceAll("0000002", "0000001"), /digest|two entries/);
  // Whatever is changed: refused, or nothing that it says is another thing.
  const [before] = [parseTuning(text, "t.json")];
  fc.assert(
    fc.property(fc.nat(text.length - 1), fc.constantFrom("0", "9", "}", '"', "a", " ", ","), (at, letter) => {
      const changed = text.slice(0, at) + letter + text.slice(at + 1);
      try {
        assert.deepEqual(parseTuning(changed, "t.json").entries, before?.entries);
      } catch (error) {
        assert.ok(error instanceof FormatError, String(error));
      }
    }),
  );
});

test("a kernel is known by what it computes, a machine by what schedules read", () => {
  const twice = (name: string, scale: number): Fn => ({
    ...group([["f32", [8]]], (x) => mul(x, x)),
    name: `${name}${scale}`,
  });
  assert.equal(kernelKey(twice("a", 1)), kernelKey(twice("b", 2)));
  assert.notEqual(kernelKey(product(8, 8, 8)), kernelKey(product(8, 8, 9)));
  assert.notEqual(
    kernelKey(group([["f32", [8]]], (x) => add(x, x))),
    kernelKey(group([["f64", [8]]], (x) => add(x, x))),
  );
  const wide = { ...hardware, limits: { ...hardware.limits, vectorRegisters: 32 } };
  assert.notEqual(hardwareKey(hardware), hardwareKey(wide));
  assert.notEqual(hardwareKey(hardware), hardwareKey({ ...hardware, features: ["gcc 13"] }));
});

test("results are of the same bits, of others by roundings alone, or wrong", () => {
  const fn = group([["f32", [3]]], (x) => add(x, x));
  const bytes = (...values: number[]): Uint8Array[] => [new Uint8Array(Float32Array.from(values).buffer)];
  const of = (...values: number[]) => agreementOf(bytes(1, -200, 3), bytes(...values), fn);
  assert.equal(of(1, -200, 3), "same bits");
  assert.equal(of(1 + 2 ** -20, -200, 3), "other bits");
  assert.equal(of(1.5, -200, 3), "wrong");
  assert.equal(of(Number.NaN, -200, 3), "wrong");
  assert.equal(agreementOf(bytes(Number.NaN, 1, 2), bytes(Number.NaN, 1, 2), fn), "same bits");
});
