/** A sample of the job `npm run fuzz`: damaged files are read or refused by a typed error, fast, without much memory. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { attempt } from "./attempt.ts";
import { formats } from "./format.ts";
import { random } from "./random.ts";

const inputs = 2000;

for (const [name, format] of await formats()) {
  test(`${inputs} damaged files: ${name}`, async () => {
    let refused = 0;
    for (let number = 0; number < inputs; number++) {
      const bytes = format.input(random(1, number));
      const outcome = await attempt(format, bytes);
      assert.equal(outcome.failure, undefined, `npm run fuzz -- --only ${name} --from ${number} --inputs 1`);
      if (outcome.refused) refused++;
    }
    // Damage that every reader refuses at its door, or that none sees, would test nothing.
    assert.ok(refused > inputs / 20 && refused < inputs, `${refused} of ${inputs} were refused`);
  });
}
