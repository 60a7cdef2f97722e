/** The place of the rules by which groups are made of rows (`rows.ts`). They are speed alone: a device whose code generator takes loops
 *  adds them with `fuseRows`, and a small page does without. */
import type { Fn } from "../ir/fn.ts";
import type { Node } from "../ir/node.ts";
import type { Fusion } from "../compiler/fuse.ts";
import type { Piece } from "../compiler/join.ts";
import type { RowLowering } from "./lower-rows.ts";
import type { Item } from "./nests.ts";
import type { Rows } from "./rows.ts";

export interface RowFusion {
  /** The pieces joined, those that are not rows too, and what is stored still.
   *  @param needed  values that are stored whoever reads them */
  readonly join: (pieces: readonly Piece[], stored: ReadonlySet<Node>, needed: ReadonlySet<Node>) => Fusion;
  /** The rows of a group that one loop nest cannot compute; undefined where it can, or where there are none. */
  readonly rowsOf: (group: Fn) => Rows | undefined;
  readonly lower: (rows: Rows, lowering: RowLowering) => Item[];
  /** The parameters of a group of rows that a result may lie over. */
  readonly overwritten: (group: Fn) => number[];
}

let added: RowFusion | undefined;

export function addRowFusion(rules: RowFusion): void {
  added = rules;
}

export const rowFusion = (): RowFusion | undefined => added;
