import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { FormatError } from "../errors.ts";
import { parseJson } from "./json.ts";

test("any JSON text gives what JSON.parse gives", () => {
  fc.assert(
    fc.property(fc.json({ stringUnit: "binary" }), fc.constantFrom(0, 1, 2), (text, indent) => {
      const spaced = JSON.stringify(JSON.parse(text), null, indent);
      assert.deepEqual(parseJson(spaced, "text"), JSON.parse(spaced));
    }),
  );
});

test("a mutated text is taken or refused as JSON.parse does", () => {
  const part = fc.constantFrom(
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"',
    "\\",
    "a",
    "1",
    "0",
    "-",
    ".",
    "e",
    " ",
    "null",
    "\n",
    '"k"',
    "\u0001",
  );
  fc.assert(
    fc.property(fc.json(), fc.nat(), fc.array(part, { maxLength: 4 }), fc.nat(2), (text, seed, parts, drop) => {
      const at = seed % (text.length + 1);
      const mutated = text.slice(0, at) + parts.join("") + text.slice(at + drop);
      let expected: unknown;
      try {
        expected = JSON.parse(mutated);
      } catch {
        assert.throws(() => parseJson(mutated, "text"), FormatError);
        return;
      }
      try {
        assert.deepEqual(parseJson(mutated, "text"), expected);
      } catch (error) {
        assert.match(String(error), /is given twice/);
      }
    }),
    { numRuns: 3000 },
  );
});

test("a key given twice, too deep nesting and trailing text are refused, with the place", () => {
  assert.throws(
    () => parseJson('{"a":1,"a":2}', "config.json"),
    /config.json: .* character 10: the key "a" is given twice/,
  );
  assert.throws(() => parseJson("[".repeat(70), "text"), /deeper than 64/);
  assert.throws(() => parseJson("{} x", "text"), /character 3: expected the end, found "x"/);
  assert.throws(() => parseJson("", "text"), /found the end of the text/);
});

test("__proto__ is a key like any other", () => {
  const value = parseJson('{"__proto__":{"polluted":1}}', "text") as Record<string, unknown>;
  assert.deepEqual(Object.keys(value), ["__proto__"]);
  assert.equal(value.polluted, undefined);
});
