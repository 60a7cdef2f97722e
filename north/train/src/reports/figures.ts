/** Figures as people read them: times, counts, bytes, bars and spark lines, in a terminal's cells and colours. */

/** `1:05`, `2:00:07`; dashes while it is not known. */
export function clock(seconds: number): string {
  if (!Number.isFinite(seconds)) return "-:--";
  const whole = Math.round(seconds);
  const two = (n: number): string => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** `12,345`. */
export const grouped = (n: number): string => String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, ",");

/** `555 MB`, `1.23 GB`: powers of a thousand, three digits. */
export function bytes(n: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let rest = n;
  let unit = 0;
  while (rest >= 999.5 && unit < units.length - 1) {
    rest /= 1000;
    unit++;
  }
  return `${unit === 0 ? rest : rest.toPrecision(3)} ${units[unit]}`;
}

/** `3.2e-4`, `0.012`: two digits of a learning rate. */
export function rateText(rate: number): string {
  if (rate === 0) return "0";
  return rate >= 0.01 ? String(Number(rate.toPrecision(2))) : rate.toExponential(1);
}

/** A share of 0 to 1 as a line of so many cells, to half a cell. */
export function barOf(share: number, width: number, paint: Painter): string {
  const halves = Math.round(Math.min(1, Math.max(0, share)) * width * 2);
  const done = "━".repeat(Math.floor(halves / 2)) + (halves % 2 === 1 ? "╸" : "");
  return paint.cyan(done) + paint.dim("─".repeat(width - done.length));
}

const heights = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/** The course of some values, one cell each, from the least to the greatest; what begins far above the rest, as a loss does, is cut off
 *  there: otherwise all that follows would look the same. */
export function sparkLine(values: readonly number[]): string {
  const settled = values.slice(Math.floor(values.length / 6));
  const least = Math.min(...values);
  const span = Math.max(...settled) - least;
  const height = (value: number): number =>
    span > 0 ? Math.round(((value - least) / span) * (heights.length - 1)) : 0;
  return values.map((value) => heights[Math.min(height(value), heights.length - 1)] ?? "").join("");
}

/** Colours of a terminal. */
export interface Painter {
  readonly cyan: (text: string) => string;
  readonly green: (text: string) => string;
  readonly yellow: (text: string) => string;
  readonly dim: (text: string) => string;
  readonly bold: (text: string) => string;
}

/** Wraps text in ANSI colours, or leaves it as it is. */
export function painter(on: boolean): Painter {
  const sgr = (open: number, close: number) => (text: string) =>
    on && text !== "" ? `\u001b[${open}m${text}\u001b[${close}m` : text;
  return { cyan: sgr(36, 39), green: sgr(32, 39), yellow: sgr(33, 39), dim: sgr(2, 22), bold: sgr(1, 22) };
}
