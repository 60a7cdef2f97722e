/** A figure: one measured number, alone or beside a peer's, as the JSON line and the table row that people read.
 *  A bench module gives figures; it knows nothing of printing. */

/** Whether a larger number is the better one, for every unit that a bench may use. */
const better = {
  "GFLOP/s": "higher",
  "tokens/s": "higher",
  "MB/s": "higher",
  "GB/s": "higher",
  "images/s": "higher",
  us: "lower",
  ms: "lower",
  s: "lower",
  MB: "lower",
  KB: "lower",
  ulp: "lower",
  x: "lower",
  "%": "lower",
} as const satisfies Record<string, "higher" | "lower">;

export type Unit = keyof typeof better;

export const isUnit = (text: string): text is Unit => Object.hasOwn(better, text);

/** What somebody else's framework measured on the same case, in the same unit. */
export interface Peer {
  readonly name: string;
  readonly version: string;
  readonly value: number;
}

export interface Figure {
  readonly bench: string;
  readonly case: string;
  /** `cpu-wasm`, later `cpu-native`, `webgpu` … */
  readonly device: string;
  readonly threads: number;
  /** The median of the repeats. */
  readonly value: number;
  readonly unit: Unit;
  readonly peer?: Peer;
  /** Above 1 where we are better. */
  readonly ratio?: number;
  /** What the number alone does not say. */
  readonly note?: string;
}

/** One figure for each peer, or the figure alone where no peer was measured. */
export function beside(figure: Omit<Figure, "peer" | "ratio">, peers: readonly Peer[]): Figure[] {
  if (peers.length === 0) return [figure];
  return peers.map((peer) => {
    const by = ratio(figure.value, peer.value, figure.unit);
    return by === undefined ? { ...figure, peer } : { ...figure, peer, ratio: by };
  });
}

/** Undefined where we need nothing at all. */
function ratio(ours: number, theirs: number, unit: Unit): number | undefined {
  const by = better[unit] === "higher" ? ours / theirs : theirs / ours;
  return Number.isFinite(by) ? round(by) : undefined;
}

/** Four significant digits: more is noise. */
export const round = (value: number): number => Number(value.toPrecision(4));

export function jsonLine(figure: Figure): string {
  const { peer } = figure;
  return JSON.stringify({
    ...figure,
    value: round(figure.value),
    ...(peer && { peer: { name: peer.name, version: peer.version, value: round(peer.value) } }),
  });
}

const heads = ["bench", "case", "device", "threads", "value", "unit", "peer", "theirs", "ratio", "note"] as const;
const numeric = new Set<string>(["threads", "value", "theirs", "ratio"]);

/** Aligned columns, numbers to the right; the columns of peers only where there is one. */
export function table(figures: readonly Figure[]): string {
  const rows = figures.map(
    (f): Record<(typeof heads)[number], string> => ({
      bench: f.bench,
      case: f.case,
      device: f.device,
      threads: String(f.threads),
      value: number(f.value),
      unit: f.unit,
      peer: f.peer ? `${f.peer.name} ${f.peer.version}` : "",
      theirs: f.peer ? number(f.peer.value) : "",
      ratio: f.ratio === undefined ? "" : f.ratio.toFixed(2),
      note: f.note ?? "",
    }),
  );
  const shown = heads.filter((head) => rows.some((row) => row[head] !== ""));
  const widths = shown.map((head) => Math.max(head.length, ...rows.map((row) => row[head].length)));
  const line = (cell: (head: (typeof heads)[number]) => string): string =>
    shown
      .map((head, i) => (numeric.has(head) ? cell(head).padStart(widths[i] ?? 0) : cell(head).padEnd(widths[i] ?? 0)))
      .join("  ")
      .trimEnd();
  return [line((head) => head), ...rows.map((row) => line((head) => row[head]))].join("\n");
}

/** Four significant digits without an exponent. */
export function number(value: number): string {
  const digits = Math.abs(value) >= 1000 || value === 0 ? 0 : Math.max(0, 3 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(digits, 8));
}
