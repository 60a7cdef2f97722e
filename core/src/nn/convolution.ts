/** Convolutional layers and pooling over images `[batch, channels, ...space]`. Weights have PyTorch's shapes and names. */
import { ArgumentError } from "../errors.ts";
import type { DType } from "../ir/dtype.ts";
import * as ops from "../tensor/convolution.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { fanInUniform, type Initializer, uniform } from "./initializers.ts";
import { type Built, type Layer, type Module, module, type Parameter, parameter } from "./module.ts";

/** A setting of a module is a number or a text: a list is kept as JSON. */
type Setting = number | string;
const setting = (value: unknown): Setting => (typeof value === "number" ? value : JSON.stringify(value));
const given = <T>(value: Setting): T => (typeof value === "number" ? value : JSON.parse(value)) as T;

type ConvParts = Readonly<Record<string, unknown>> & {
  readonly weight: Parameter;
  readonly bias: Parameter | null;
  readonly stride: Setting;
  readonly padding: Setting;
  readonly outputPadding: Setting;
  readonly dilation: Setting;
  readonly groups: number;
};

/** A convolution with its weight and bias. */
export type Conv = Module<Tensor, Tensor, ConvParts>;

/** Stride, padding, groups and bias of a convolution. */
export interface ConvLayerOptions extends Omit<ops.ConvOptions, "bias"> {
  readonly bias?: boolean;
  readonly initializer?: Initializer;
  /** f32 or f64. */
  readonly dtype?: DType;
}

type MakeConv<O> = (inputs: number, outputs: number, window: ops.PerAxis, options?: O) => Conv;

const forwards = {
  conv: ({ weight, bias, stride, padding, dilation, groups }: Built<ConvParts>, x: Tensor): Tensor =>
    ops.conv(x, weight, {
      stride: given(stride),
      padding: given(padding),
      dilation: given(dilation),
      groups,
      bias: bias ?? undefined,
    }),
  transposed: (
    { weight, bias, stride, padding, outputPadding, dilation, groups }: Built<ConvParts>,
    x: Tensor,
  ): Tensor =>
    ops.convTranspose(x, weight, {
      stride: given(stride),
      padding: given(padding),
      outputPadding: given(outputPadding),
      dilation: given(dilation),
      groups,
      bias: bias ?? undefined,
    }),
};

const layer =
  (name: string, space: number, kind: keyof typeof forwards): MakeConv<ConvTransposeLayerOptions> =>
  (inputs, outputs, window, options = {}) => {
    const { stride = 1, padding = 0, outputPadding = 0, dilation = 1, groups = 1 } = options;
    const { bias = true, initializer = fanInUniform, dtype = "f32" } = options;
    for (const count of [inputs, outputs])
      if (!Number.isSafeInteger(count) || count < 1 || count % groups !== 0)
        throw new ArgumentError(`${name}: expected channels of at least 1 in ${groups} equal groups, got ${count}`);
    const sizes = typeof window === "number" ? Array.from({ length: space }, () => window) : window;
    if (sizes.length !== space)
      throw new ArgumentError(`${name}: expected a window of ${space} axes, got [${sizes.join(", ")}]`);
    const dims = kind === "conv" ? [outputs, inputs / groups, ...sizes] : [inputs, outputs / groups, ...sizes];
    const bound = 1 / Math.sqrt(dims.slice(1).reduce((n, d) => n * d, 1));
    const parts: ConvParts = {
      weight: parameter(dims, initializer, { dtype }),
      bias: bias ? parameter([outputs], uniform({ low: -bound, high: bound }), { dtype }) : null,
      stride: setting(stride),
      padding: setting(padding),
      outputPadding: setting(outputPadding),
      dilation: setting(dilation),
      groups,
    };
    return module(name, parts, forwards[kind]);
  };

/** A convolution: `[batch, in, length]` → `[batch, out, length']`; weight `[out, in / groups, window]`, bias `[out]`, which both begin
 *  uniform within ±1/√(in / groups · window). See `conv`.
 *  @throws ArgumentError
 *  @example const layer = nn.conv1d(3, 8, 5, { padding: 2 }).init(key(0)); */
export const conv1d: MakeConv<ConvLayerOptions> = layer("conv1d", 1, "conv");
/** As `conv1d`, over images `[batch, in, height, width]`.
 *  @example const layer = nn.conv2d(3, 16, 3, { stride: 2, padding: 1 }).init(key(0)); */
export const conv2d: MakeConv<ConvLayerOptions> = layer("conv2d", 2, "conv");
/** As `conv1d`, over `[batch, in, depth, height, width]`. */
export const conv3d: MakeConv<ConvLayerOptions> = layer("conv3d", 3, "conv");

/** Those of a convolution, and what its stride leaves open of the result's size. */
export interface ConvTransposeLayerOptions extends ConvLayerOptions {
  readonly outputPadding?: ops.PerAxis;
}

/** The transpose of a convolution: `[batch, in, length]` → `[batch, out, length']`; weight `[in, out / groups, window]`. See
 *  `convTranspose`. */
export const convTranspose1d: MakeConv<ConvTransposeLayerOptions> = layer("convTranspose1d", 1, "transposed");
/** The transposed convolution over two axes; see `convTranspose1d`. */
export const convTranspose2d: MakeConv<ConvTransposeLayerOptions> = layer("convTranspose2d", 2, "transposed");
/** The transposed convolution over three axes; see `convTranspose1d`. */
export const convTranspose3d: MakeConv<ConvTransposeLayerOptions> = layer("convTranspose3d", 3, "transposed");

/** `maxPool` as a layer.
 *  @example nn.sequential(nn.conv2d(1, 8, 3), nn.relu, nn.maxPool(2)) */
export const maxPool =
  (size: ops.PerAxis, options?: ops.PoolOptions): Layer =>
  (x) =>
    ops.maxPool(x, size, options);

/** `avgPool` as a layer. */
export const avgPool =
  (size: ops.PerAxis, options?: Parameters<typeof ops.avgPool>[2]): Layer =>
  (x) =>
    ops.avgPool(x, size, options);
