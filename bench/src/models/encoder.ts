/** A transformer's encoder as a user would write it, on vectors `[batch, time, width]`: norms before the branches and one at the end,
 *  or after them as BERT has it. The feed-forward network is four times as wide.
 *  @see Devlin et al. 2019, arXiv:1810.04805 (BERT-base: 12 layers of 768, 12 heads) */
import { nn, type Tensor, transpose } from "sinan";

export interface EncoderSize {
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  readonly norms: "before" | "after";
}

const layer = ({ width, heads, norms }: EncoderSize) =>
  nn.module(
    "encoderLayer",
    {
      q: nn.linear(width, width),
      k: nn.linear(width, width),
      v: nn.linear(width, width),
      o: nn.linear(width, width),
      up: nn.linear(width, 4 * width),
      down: nn.linear(4 * width, width),
      norm1: nn.layerNorm(width),
      norm2: nn.layerNorm(width),
      heads,
      norms,
    },
    layerForward,
  );

interface Layer extends Readonly<Record<"q" | "k" | "v" | "o" | "up" | "down" | "norm1" | "norm2", nn.Layer>> {
  readonly heads: number;
  readonly norms: EncoderSize["norms"];
}

function attend({ q, k, v, o, heads }: Layer, x: Tensor): Tensor {
  const [batch, time, width] = x.shape as readonly [number, number, number];
  const split = (h: Tensor): Tensor => transpose(h.reshape([batch, time, heads, width / heads]), [0, 2, 1, 3]);
  const y = nn.scaledDotProductAttention(split(q(x)), split(k(x)), split(v(x)));
  return o(transpose(y, [0, 2, 1, 3]).reshape([batch, time, width]));
}

function layerForward(self: Layer, x: Tensor): Tensor {
  const feed = (h: Tensor): Tensor => self.down(nn.gelu(self.up(h)));
  if (self.norms === "before") {
    const h = x.add(attend(self, self.norm1(x)));
    return h.add(feed(self.norm2(h)));
  }
  const h = self.norm1(x.add(attend(self, x)));
  return self.norm2(h.add(feed(h)));
}

export const encoder = (size: EncoderSize) =>
  nn.sequential(
    ...Array.from({ length: size.layers }, () => layer(size)),
    ...(size.norms === "before" ? [nn.layerNorm(size.width)] : []),
  );
