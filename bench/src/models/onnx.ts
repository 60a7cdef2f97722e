/** ONNX files as protobuf bytes: the few messages that a graph with weights needs; field numbers from onnx.proto3. Parts are lists of
 *  arrays, so that weights of hundreds of megabytes are not copied for each message around them. */

type Bytes = readonly Uint8Array<ArrayBuffer>[];

const lengthOf = (parts: Bytes): number => parts.reduce((n, part) => n + part.length, 0);
const encoder = new TextEncoder();

function varint(value: number): Uint8Array<ArrayBuffer> {
  const out: number[] = [];
  for (let rest = BigInt.asUintN(64, BigInt(value)); ; rest >>= 7n) {
    const low = Number(rest & 127n);
    if (rest < 128n) return Uint8Array.from([...out, low]);
    out.push(low | 128);
  }
}

const int = (field: number, value: number): Bytes => [varint(field << 3), varint(value)];
const message = (field: number, parts: Bytes): Bytes => [varint((field << 3) | 2), varint(lengthOf(parts)), ...parts];
const text = (field: number, value: string): Bytes => message(field, [encoder.encode(value)]);
const float = (field: number, value: number): Bytes => [
  varint((field << 3) | 5),
  new Uint8Array(Float32Array.of(value).buffer),
];

/** A whole number, a list of them, or `{ float }`. */
type Attribute = number | readonly number[] | { readonly float: number };

function attribute([name, value]: readonly [string, Attribute]): Bytes {
  if (typeof value === "number") return [...text(1, name), ...int(3, value), ...int(20, 2)];
  if ("float" in value) return [...text(1, name), ...float(2, value.float), ...int(20, 1)];
  return [...text(1, name), ...value.flatMap((v) => int(8, v)), ...int(20, 7)];
}

const tensor = (name: string, dims: readonly number[], data: Float32Array | BigInt64Array): Bytes => [
  ...dims.flatMap((d) => int(1, d)),
  ...int(2, data instanceof Float32Array ? 1 : 7),
  ...text(8, name),
  ...message(9, [
    new Uint8Array(Uint8Array.from(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)).buffer),
  ]),
];

const f32 = (name: string, dims: readonly number[]): Bytes => {
  const shape = dims.flatMap((d) => message(1, int(1, d)));
  return [...text(1, name), ...message(2, message(1, [...int(1, 1), ...message(2, shape)]))];
};

/** A graph of f32 under construction. */
export interface Graph {
  /** A node with one output, whose name it gives. */
  readonly op: (kind: string, inputs: readonly string[], attributes?: Readonly<Record<string, Attribute>>) => string;
  readonly weight: (name: string, dims: readonly number[], data: Float32Array) => string;
  readonly number: (value: number) => string;
  /** A shape, as `Reshape` takes it. */
  readonly shape: (dims: readonly number[]) => string;
  /** The file: one input `x`, and the output that a node gave. Opset 17, IR 8. */
  readonly file: (input: readonly number[], output: string, dims: readonly number[]) => Bytes;
}

export function onnxGraph(): Graph {
  const nodes: Bytes[] = [];
  const weights = new Map<string, Bytes>();
  const weight = (name: string, dims: readonly number[], data: Float32Array | BigInt64Array): string => {
    if (!weights.has(name)) weights.set(name, tensor(name, dims, data));
    return name;
  };
  return {
    op(kind, inputs, attributes = {}) {
      const output = `t${nodes.length}`;
      nodes.push([
        ...inputs.flatMap((input) => text(1, input)),
        ...text(2, output),
        ...text(3, output),
        ...text(4, kind),
        ...Object.entries(attributes).flatMap((entry) => message(5, attribute(entry))),
      ]);
      return output;
    },
    weight,
    number: (value) => weight(`number ${value}`, [], Float32Array.of(value)),
    shape: (dims) => weight(`shape ${dims.join(" ")}`, [dims.length], BigInt64Array.from(dims, BigInt)),
    file(input, output, dims) {
      const graph = [
        ...nodes.flatMap((node) => message(1, node)),
        ...text(2, "g"),
        ...[...weights.values()].flatMap((part) => message(5, part)),
        ...message(11, f32("x", input)),
        ...message(12, f32(output, dims)),
      ];
      const opset = message(8, [...text(1, ""), ...int(2, 17)]);
      return [...int(1, 8), ...text(2, "sinan-bench"), ...message(7, graph), ...opset];
    },
  };
}
