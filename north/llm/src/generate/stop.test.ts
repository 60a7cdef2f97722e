/** Stop strings in pieces of text: the answer of a search in the whole text, however it is cut. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { stopScanner } from "./stop.ts";

/** The text before the stop string that is complete first. */
function before(text: string, stops: readonly string[]): string | null {
  for (let end = 1; end <= text.length; end++) {
    const found = stops.filter((stop) => text.slice(0, end).endsWith(stop));
    if (found.length > 0) return text.slice(0, end - Math.max(...found.map((stop) => stop.length)));
  }
  return null;
}

const few = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 5 });

test("what is given out is the text before the first stop string, for all cuts", () => {
  fc.assert(
    fc.property(
      fc.array(few, { maxLength: 12 }),
      fc.array(
        few.filter((s) => s !== ""),
        { maxLength: 3 },
      ),
      (pieces, stops) => {
        const scanner = stopScanner(stops);
        const expected = before(pieces.join(""), stops);
        let out = "";
        let given = "";
        for (const piece of pieces) {
          given += piece;
          const { text, isStopped } = scanner.push(piece);
          out += text;
          // What was given out never has to be taken back, and nothing is held back that is certain.
          assert.ok((expected ?? pieces.join("")).startsWith(out));
          assert.equal(isStopped, before(given, stops) !== null);
          if (isStopped) break;
          const held = given.slice(out.length);
          assert.ok(held === "" || stops.some((stop) => stop.startsWith(held) && stop !== held));
        }
        if (expected === null) out += scanner.end();
        assert.equal(out, expected ?? pieces.join(""));
      },
    ),
    { numRuns: 2000 },
  );
});
