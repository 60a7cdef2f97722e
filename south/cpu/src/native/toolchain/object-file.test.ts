/** Shared objects of this and other systems, whole and cut short. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { tinyObject } from "./fake-compiler.fixture.ts";
import { objectFault } from "./object-file.ts";

test("what is no object is told by how it begins", () => {
  assert.equal(objectFault(new Uint8Array()), "it is empty");
  assert.equal(objectFault(new Uint8Array(10)), "it has only 10 bytes");
  assert.equal(objectFault(new Uint8Array(100)), "it is no object file");
  assert.equal(objectFault(tinyObject()), undefined);
  const other = process.arch === "arm64" ? "x64" : "arm64";
  assert.match(objectFault(tinyObject(), other) ?? "", /^it is for another processor/);
  const program = tinyObject();
  program[16] = 2; // ET_EXEC
  assert.equal(objectFault(program), "it is no shared object");
});

/** ONNX Runtime comes with objects of three systems and two processors. */
const foreign = globSync("bench/peers/node_modules/onnxruntime-node/bin/napi-v6/*/*/onnxruntime_binding.node", {
  cwd: path.resolve(import.meta.dirname, "../../../../.."),
}).map((file) => path.resolve(import.meta.dirname, "../../../../..", file));
const skip = foreign.length === 0 ? "ONNX Runtime is not installed (npm run peers)" : false;

test("objects of Linux, macOS and Windows are known, and missed when their end is", { skip }, () => {
  for (const file of foreign) {
    const arch = path.basename(path.dirname(file));
    const bytes = readFileSync(file);
    assert.equal(objectFault(bytes, arch), undefined, file);
    assert.match(objectFault(bytes, arch === "x64" ? "arm64" : "x64") ?? "", /^it is for another processor/, file);
    for (const part of [0.5, 0.1])
      assert.equal(objectFault(bytes.subarray(0, part * bytes.length), arch), "its end is missing", `${file} ${part}`);
    assert.match(objectFault(bytes.subarray(0, 200), arch) ?? "", /its end is missing|point behind its end/);
  }
});
