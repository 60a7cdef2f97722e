/** Schedules of products of bf16, and of bytes, by matrix registers: those of AMX hold 16 rows of 16 words, and one instruction multiplies two
 *  of them and adds the product to a third.
 *
 *  A tile is 32 × 32 results, in four registers. Panels of columns hold words of neighbours along k (`stage-pairs.ts`), as the instruction
 *  wants them; rows are read as they lie, if they lie along k. Every result adds its terms 16 words after 16, whatever tile it lies in.
 *  The rows of a tile are written as one loop over what the registers leave in memory (`c-like/matrix.ts`). */
import type { HardwareModel } from "../../runtime/hardware.ts";
import { tileColumns } from "./gemm.ts";
import { isRead, packWords, partProductIn } from "./gemm-pairs.ts";
import type { Plan } from "../plan.ts";
import { PARTS, type Part } from "./pair-product.ts";

/** Rows, columns and words of a register. */
export const MATRIX = 16;
/** Registers that lie side by side, and below each other, in a tile. */
export const SIDE = 2;

/** Products of fewer terms than this are not worth the panels. */
const LEAST = 2 ** 17;

/** What a processor has that multiplies such numbers so. */
const featureOf = (part: Part): string => (part === "bf16" ? "amx-bf16" : "amx-int8");

/** Whether a processor has matrix registers that kernels are to use. */
export const hasMatrix = ({ features }: Pick<HardwareModel, "features">): boolean => features.includes("amx-tile");

/** Schedules nest i, if it is such a product, and returns the position behind it and those that it becomes. */
export function scheduleMatrix(
  plan: Plan,
  i: number,
  lanes: number,
  pack: (plan: Plan, i: number) => number,
): number | undefined {
  const { hardware } = plan;
  if (lanes !== MATRIX || !hasMatrix(hardware)) return undefined;
  // Terms that fill no word are followed by zeros.
  const found = partProductIn(plan, i, lanes, (part) => hardware.features.includes(featureOf(part)));
  if (found?.tile.m === undefined) return undefined;
  const { parts, k, columns, tile } = found;
  const { m, n, operand } = found.tile;
  const [height, width, terms] = [plan.range(i, m), columns, k].map((r) => r.attr.extent) as [number, number, number];
  if (Math.min(height, width, terms / PARTS[parts[0]]) < MATRIX) return undefined;
  if (!plan.choose("matrix", +(height * width * terms >= LEAST))) return undefined;
  plan.add({ option: "pairTerms", nest: i, range: k.attr.id });
  let at = packWords(plan, i, { operand, range: n, tile: SIDE * MATRIX }, pack);
  const repeated = operand === 0 ? 1 : 0;
  if (!isRead(plan, at, repeated)) at = packWords(plan, at, { operand: repeated, range: m, tile: 1 }, pack);
  return tileColumns(plan, at, { ...tile, rows: SIDE * MATRIX, vectors: SIDE });
}
