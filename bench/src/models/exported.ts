/** The models of the `infer` bench as ONNX graphs, in the nodes that exporters of PyTorch write and that ONNX Runtime has fusions for:
 *  `Gemm` and `Conv` behind each other, batch norms of their own, GELU by `Erf`, attention by products and a softmax. */
import type { EncoderSize } from "./encoder.ts";
import type { Graph } from "./onnx.ts";
import { stages } from "./resnet.ts";

/** A parameter's values and shape, by its name in the model. */
export type Weights = (name: string) => { readonly shape: readonly number[]; readonly data: Float32Array };

const initializer = (g: Graph, weights: Weights, name: string): string => {
  const { shape, data } = weights(name);
  return g.weight(name, shape, data);
};

/** x · wᵀ + b of rows. */
const gemm = (g: Graph, weights: Weights, x: string, name: string): string =>
  g.op("Gemm", [x, initializer(g, weights, `${name}.weight`), initializer(g, weights, `${name}.bias`)], { transB: 1 });

/** Layers with ReLUs between them; their places in the sequence are even. */
export function exportMlp(g: Graph, weights: Weights, layers: number): string {
  let x = "x";
  for (let i = 0; i < layers; i++) {
    x = gemm(g, weights, x, `layers.${2 * i}`);
    if (i < layers - 1) x = g.op("Relu", [x]);
  }
  return x;
}

export function exportResnet(g: Graph, weights: Weights): string {
  const convolution = (x: string, name: string, size: number, stride: number): string => {
    const p = (size - 1) / 2;
    return g.op("Conv", [x, initializer(g, weights, `${name}.weight`)], {
      kernel_shape: [size, size],
      strides: [stride, stride],
      pads: [p, p, p, p],
    });
  };
  const norm = (x: string, name: string): string => {
    const parts = ["weight", "bias", "running_mean", "running_var"].map((p) => initializer(g, weights, `${name}.${p}`));
    return g.op("BatchNormalization", [x, ...parts], { epsilon: { float: 1e-5 } });
  };
  let x = g.op("Relu", [norm(convolution("x", "conv", 7, 2), "bn")]);
  x = g.op("MaxPool", [x], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] });
  stages
    .flatMap(([, stride]) => [stride, 1])
    .forEach((stride, i) => {
      const at = `blocks.${i}`;
      const h = g.op("Relu", [norm(convolution(x, `${at}.conv1`, 3, stride), `${at}.bn1`)]);
      const y = norm(convolution(h, `${at}.conv2`, 3, 1), `${at}.bn2`);
      const around =
        stride > 1 ? norm(convolution(x, `${at}.shortcut.layers.0`, 1, stride), `${at}.shortcut.layers.1`) : x;
      x = g.op("Relu", [g.op("Add", [y, around])]);
    });
  return gemm(g, weights, g.op("Flatten", [g.op("GlobalAveragePool", [x])], { axis: 1 }), "fc");
}

export function exportEncoder(
  g: Graph,
  weights: Weights,
  { layers, width, heads, norms, batch, time }: EncoderSize & { readonly batch: number; readonly time: number },
): string {
  /** As products of three axes: exporters write the weight transposed. */
  const linear = (x: string, name: string): string => {
    const { shape, data } = weights(`${name}.weight`);
    const [out, inputs] = shape as readonly [number, number];
    const turned = new Float32Array(data.length);
    for (let o = 0; o < out; o++) for (let i = 0; i < inputs; i++) turned[i * out + o] = data[o * inputs + i] as number;
    const product = g.op("MatMul", [x, g.weight(`${name}.weight`, [inputs, out], turned)]);
    return g.op("Add", [product, initializer(g, weights, `${name}.bias`)]);
  };
  const norm = (x: string, name: string): string =>
    g.op(
      "LayerNormalization",
      [x, initializer(g, weights, `${name}.weight`), initializer(g, weights, `${name}.bias`)],
      { axis: -1, epsilon: { float: 1e-5 } },
    );
  const head = width / heads;
  const split = (x: string, perm: readonly number[]): string =>
    g.op("Transpose", [g.op("Reshape", [x, g.shape([batch, time, heads, head])])], { perm });
  const attend = (x: string, at: string): string => {
    const q = split(linear(x, `${at}.q`), [0, 2, 1, 3]);
    const k = split(linear(x, `${at}.k`), [0, 2, 3, 1]);
    const v = split(linear(x, `${at}.v`), [0, 2, 1, 3]);
    const scores = g.op("Div", [g.op("MatMul", [q, k]), g.number(Math.sqrt(head))]);
    const mixed = g.op("MatMul", [g.op("Softmax", [scores], { axis: -1 }), v]);
    const joined = g.op("Transpose", [mixed], { perm: [0, 2, 1, 3] });
    return linear(g.op("Reshape", [joined, g.shape([batch, time, width])]), `${at}.o`);
  };
  const feed = (x: string, at: string): string => {
    const u = linear(x, `${at}.up`);
    const erf = g.op("Erf", [g.op("Div", [u, g.number(Math.SQRT2)])]);
    const gelu = g.op("Mul", [g.op("Mul", [u, g.op("Add", [erf, g.number(1)])]), g.number(0.5)]);
    return linear(gelu, `${at}.down`);
  };
  let x = "x";
  for (let i = 0; i < layers; i++) {
    const at = `layers.${i}`;
    if (norms === "before") {
      const h = g.op("Add", [x, attend(norm(x, `${at}.norm1`), at)]);
      x = g.op("Add", [h, feed(norm(h, `${at}.norm2`), at)]);
    } else {
      const h = norm(g.op("Add", [x, attend(x, at)]), `${at}.norm1`);
      x = norm(g.op("Add", [h, feed(h, at)]), `${at}.norm2`);
    }
  }
  return norms === "before" ? norm(x, `layers.${layers}`) : x;
}
