// ONNX models written as protobuf bytes by hand: the few messages that one function needs; field numbers from onnx.proto3.

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

/** Whole numbers and lists of them. */
const attribute = ([name, value]) =>
  bytes(
    5,
    Buffer.concat([
      text(1, name),
      ...(Array.isArray(value) ? value.map((v) => int(8, v)) : [int(3, value)]),
      int(20, Array.isArray(value) ? 7 : 2),
    ]),
  );

export const onnxNode = (op, inputs, outputs, attributes = {}) =>
  Buffer.concat([
    ...inputs.map((x) => text(1, x)),
    ...outputs.map((x) => text(2, x)),
    text(3, outputs[0]),
    text(4, op),
    ...Object.entries(attributes).map(attribute),
  ]);

/** Element types: 1 is f32, 6 is i32. A shape may be left to be inferred. */
function valueInfo(name, dims, type) {
  const shape = dims ? [bytes(2, Buffer.concat(dims.map((d) => bytes(1, int(1, d)))))] : [];
  return Buffer.concat([text(1, name), bytes(2, bytes(1, Buffer.concat([int(1, type), ...shape])))]);
}

/** inputs and outputs: [name, dims, element type]; nodes from onnxNode. Opset 17, IR 8. */
export function onnxModel({ nodes, inputs, outputs }) {
  const graph = Buffer.concat([
    ...nodes.map((n) => bytes(1, n)),
    text(2, "g"),
    ...inputs.map((value) => bytes(11, valueInfo(...value))),
    ...outputs.map((value) => bytes(12, valueInfo(...value))),
  ]);
  const opset = bytes(8, Buffer.concat([text(1, ""), int(2, 17)]));
  return Buffer.concat([int(1, 8), text(2, "sinan-bench"), bytes(7, graph), opset]);
}
