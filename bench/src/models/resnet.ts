/** ResNet-18 as a user would write it, for photographs and, with a smaller stem, for images of 32².
 *  @see He et al. 2016, arXiv:1512.03385, table 1; §4.2 for the small images' stem as it is usually taken (3², no pooling) */
import { mean, nn, type Tensor } from "sinan";

const convolution = (from: number, to: number, size: number, stride: number) =>
  nn.conv2d(from, to, size, { stride, padding: (size - 1) / 2, bias: false });

const block = (from: number, to: number, stride: number) =>
  nn.module(
    "basicBlock",
    {
      conv1: convolution(from, to, 3, stride),
      bn1: nn.batchNorm(to),
      conv2: convolution(to, to, 3, 1),
      bn2: nn.batchNorm(to),
      shortcut: stride > 1 ? nn.sequential(convolution(from, to, 1, stride), nn.batchNorm(to)) : null,
    },
    blockForward,
  );

interface Block {
  readonly conv1: nn.Layer;
  readonly bn1: nn.Layer;
  readonly conv2: nn.Layer;
  readonly bn2: nn.Layer;
  readonly shortcut: nn.Layer | null;
}

function blockForward(self: Block, x: Tensor, ctx: nn.Context): Tensor {
  const h = nn.relu(self.bn1(self.conv1(x, ctx), ctx));
  const y = self.bn2(self.conv2(h, ctx), ctx);
  return nn.relu(y.add(self.shortcut ? self.shortcut(x, ctx) : x));
}

/** Channels of each stage and the stride of its first block; a stage is two blocks. */
export const stages = [
  [64, 1],
  [128, 2],
  [256, 2],
  [512, 2],
] as const;

export interface ResNetOptions {
  readonly classes: number;
  /** `photo`: 7² with stride 2, and a max pool; `small`: 3². */
  readonly stem: "photo" | "small";
}

/** Images `[batch, 3, height, width]` to logits `[batch, classes]`. */
export const resnet18 = ({ classes, stem }: ResNetOptions) => {
  const blocks = stages.flatMap(([to, stride], i) => [block(stages[i - 1]?.[0] ?? 64, to, stride), block(to, to, 1)]);
  return nn.module(
    "resnet18",
    {
      conv: stem === "photo" ? convolution(3, 64, 7, 2) : convolution(3, 64, 3, 1),
      bn: nn.batchNorm(64),
      pool: stem === "photo" ? nn.maxPool(3, { stride: 2, padding: 1 }) : null,
      blocks,
      fc: nn.linear(512, classes),
    },
    forward,
  );
};

export type ResNet = ReturnType<typeof resnet18>;

interface Parts {
  readonly conv: nn.Layer;
  readonly bn: nn.Layer;
  readonly pool: nn.Layer | null;
  readonly blocks: readonly nn.Layer[];
  readonly fc: nn.Layer;
}

function forward(self: Parts, x: Tensor, ctx: nn.Context): Tensor {
  const stem = nn.relu(self.bn(self.conv(x, ctx), ctx));
  const h = self.blocks.reduce((y, layer) => layer(y, ctx), self.pool ? self.pool(stem, ctx) : stem);
  return self.fc(mean(h, [2, 3]), ctx);
}
