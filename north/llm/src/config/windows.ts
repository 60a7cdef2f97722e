/** Which layers see a window only, as `config.json` says it. */

import type { LlamaConfig } from "../config.ts";
import type { Model } from "./dialect.ts";
import type { Fields } from "./fields.ts";

export const isFull =
  (f: Fields) =>
  (value: unknown, at: string): boolean => {
    if (value === "full_attention" || value === "sliding_attention") return value === "full_attention";
    throw f.unexpected(at, '"full_attention" or "sliding_attention"', value);
  };
export const layerTypes = (c: LlamaConfig): string[] =>
  Array.from({ length: c.numHiddenLayers }, (_, i) =>
    c.slidingWindow === null || c.layersWithoutWindow.includes(i) ? "full_attention" : "sliding_attention",
  );
export const firstLayers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** A window in all layers, or none. */
export const oneWindow =
  (absent: number | null) =>
  (f: Fields): Partial<Model> => ({
    slidingWindow: f.sizeOrNull("sliding_window", absent),
  });

/** Qwen's window: a flag, a size, and the layers that have it. */
export function qwenWindow(f: Fields, { numHiddenLayers: count }: Model, firstAbsent = 28): Partial<Model> {
  const isOn = f.flag("use_sliding_window", false);
  const size = f.sizeOrNull("sliding_window", 4096);
  const first = f.real("max_window_layers", firstAbsent, (x) => Number.isInteger(x) && x >= 0, "a whole number");
  const listed = f.layers("layer_types", count, isFull(f));
  const full = listed ?? firstLayers(Math.min(first, count));
  return isOn && size !== null && full.length < count ? { slidingWindow: size, layersWithoutWindow: full } : {};
}
export const qwenJson = (c: LlamaConfig): Record<string, unknown> => ({
  use_sliding_window: c.slidingWindow !== null,
  sliding_window: c.slidingWindow,
  max_window_layers: c.slidingWindow === null ? c.numHiddenLayers : 0,
  layer_types: layerTypes(c),
});
