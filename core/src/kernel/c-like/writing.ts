/** What the parts of a nest's text are all written with. */
import type { DType } from "../../ir/dtype.ts";
import type { Node } from "../../ir/node.ts";
import type { CLike } from "./c-like.ts";
import type { Lanes } from "./lanes.ts";
import type { Needs, ScalarOp } from "./vectors.ts";
import type { Reach } from "./reach.ts";
import type { Block } from "./text.ts";

/** A text in the making: the language, and the helpers that it turns out to need. */
export interface Writing {
  readonly language: CLike;
  readonly fused: boolean;
  /** Whether tiles of products are left to matrix registers. */
  readonly matrix: boolean;
  readonly typeOf: (dtype: DType) => string;
  /** The name of a helper, which is then defined. */
  readonly helper: (op: ScalarOp, dtype: DType, from: DType) => string;
  readonly needs: Needs;
}

/** What a nest lends to what writes a part of it. */
export interface Nest {
  readonly writing: Writing;
  readonly lanes: Lanes;
  readonly reach: Reach;
  /** Buffers that the nest writes. */
  readonly stored: ReadonlySet<Node>;
  /** A name that nothing has yet; the letter says of what kind. */
  readonly newName: (letter: string) => string;
  /** A buffer's name, or that of a pointer into it, and the index behind it. */
  readonly place: (buffer: Node, index: Node, at: Block) => readonly [string, string];
}
