/** The seed of the random samples of fast-check, loaded before each test file: 1, so that a run says of the change what the last
 *  run said before it, or what SINAN_SEED has; "random" is another one each time, and a failure prints it. */
import fc from "fast-check";

const asked = process.env["SINAN_SEED"] ?? "1";
const seed = Number(asked);
if (asked !== "random") {
  if (!Number.isSafeInteger(seed))
    throw new Error(`SINAN_SEED: expected a whole number or "random", got ${JSON.stringify(asked)}`);
  fc.configureGlobal({ ...fc.readConfigureGlobal(), seed });
}

// The tier of a test is the one that it names: WebAssembly, whose kernels nothing has to build, unless it says otherwise.
process.env["SINAN_CPU"] ??= "wasm";
