// ONNX models written as protobuf bytes by hand: the few messages that one product needs; field numbers from onnx.proto3.

function varint(n) {
  const out = [];
  let v = BigInt.asUintN(64, BigInt(n));
  do {
    let b = Number(v & 127n);
    v >>= 7n;
    if (v) b |= 128;
    out.push(b);
  } while (v);
  return Buffer.from(out);
}

const int = (field, n) => Buffer.concat([varint(field << 3), varint(n)]);
const bytes = (field, b) => Buffer.concat([varint((field << 3) | 2), varint(b.length), b]);
const text = (field, s) => bytes(field, Buffer.from(s, "utf8"));

export const onnxNode = (op, inputs, outputs) =>
  Buffer.concat([
    ...inputs.map((x) => text(1, x)),
    ...outputs.map((x) => text(2, x)),
    text(3, outputs[0]),
    text(4, op),
  ]);

function valueInfo(name, dims) {
  const shape = Buffer.concat(dims.map((d) => bytes(1, int(1, d))));
  return Buffer.concat([text(1, name), bytes(2, bytes(1, Buffer.concat([int(1, 1), bytes(2, shape)])))]);
}

/** inputs and outputs: { name: dims }, all f32; nodes from onnxNode. Opset 17, IR 8. */
export function onnxModel({ nodes, inputs, outputs }) {
  const graph = Buffer.concat([
    ...nodes.map((n) => bytes(1, n)),
    text(2, "g"),
    ...Object.entries(inputs).map(([n, d]) => bytes(11, valueInfo(n, d))),
    ...Object.entries(outputs).map(([n, d]) => bytes(12, valueInfo(n, d))),
  ]);
  const opset = bytes(8, Buffer.concat([text(1, ""), int(2, 17)]));
  return Buffer.concat([int(1, 8), text(2, "sinan-bench"), bytes(7, graph), opset]);
}
