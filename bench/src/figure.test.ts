import assert from "node:assert/strict";
import { test } from "node:test";
import { beside, jsonLine, table } from "./figure.ts";

const gemm = { bench: "gemm", case: "512", device: "cpu-wasm", threads: 1, value: 30, unit: "GFLOP/s" } as const;
const dispatch = {
  bench: "dispatch",
  case: "read",
  device: "cpu-wasm",
  threads: 1,
  value: 8.3216,
  unit: "us",
} as const;
const peer = { name: "ort-web", version: "1.30.0", value: 40 };

test("a ratio is above 1 where we are better, whichever way the unit points", () => {
  assert.equal(beside(gemm, [peer])[0]?.ratio, 0.75);
  assert.equal(beside({ ...dispatch, value: 8 }, [peer])[0]?.ratio, 5);
});

test("a figure stands once beside each peer, and alone without one", () => {
  assert.deepEqual(beside(gemm, []), [gemm]);
  const two = beside(gemm, [peer, { ...peer, name: "torch", value: 60 }]);
  assert.deepEqual(
    two.map((f) => [f.peer?.name, f.value, f.ratio]),
    [
      ["ort-web", 30, 0.75],
      ["torch", 30, 0.5],
    ],
  );
});

test("a JSON line has the documented fields and four significant digits", () => {
  assert.equal(
    jsonLine(dispatch),
    '{"bench":"dispatch","case":"read","device":"cpu-wasm","threads":1,"value":8.322,"unit":"us"}',
  );
  const [figure = gemm] = beside(gemm, [{ ...peer, value: 40.00049 }]);
  assert.equal(
    jsonLine(figure),
    '{"bench":"gemm","case":"512","device":"cpu-wasm","threads":1,"value":30,"unit":"GFLOP/s",' +
      '"peer":{"name":"ort-web","version":"1.30.0","value":40},"ratio":0.75}',
  );
});

test("a table aligns its columns and shows peers only where there are any", () => {
  assert.equal(
    table([...beside(gemm, [peer]), { ...gemm, case: "1024", value: 1234.56 }]),
    [
      "bench  case  device    threads  value  unit     peer            theirs  ratio",
      "gemm   512   cpu-wasm        1  30.00  GFLOP/s  ort-web 1.30.0   40.00   0.75",
      "gemm   1024  cpu-wasm        1   1235  GFLOP/s",
    ].join("\n"),
  );
  assert.equal(
    table([dispatch]),
    "bench     case  device    threads  value  unit\ndispatch  read  cpu-wasm        1  8.322  us",
  );
});
