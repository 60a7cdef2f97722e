/** What a language with vectors says of them: their types, their helpers, how lanes are reached. */
import type { DType } from "../../ir/dtype.ts";
import type { Op, ReduceKind } from "../../ir/node.ts";

/** What a helper does: an op; `fma`, one rounding for a · b + c; `maxNumber` and `minNumber`, the first operand unless the second
 *  is greater, or lesser. */
export type ScalarOp = Op | "fma" | "maxNumber" | "minNumber";

/** What a vector's helper does beside. `allOf` repeats a scalar; `low`, `high` and `join` are halves of a vector; `select` takes a
 *  mask first; `lower_d` and `upper_d` take every other d lanes of two vectors in turn; `resize` gives a mask's lanes another width; `get` and `put` move the lanes of memory whose mask is set; `choice` is of the lanes
 *  of the one vector those that the other names; `every2` takes every other lane of two that have one in common; `take_n` and `give_n` move the first n lanes from memory and to it; `total`
 *  combines the lanes in halves. Of four bytes for each lane: `dot4` adds their products to it, with and without signs; `spread4` repeats
 *  four of memory, `whole4` loads all, `rows4` loads four from each of rows so far apart, `turn4` sixteen, as four vectors, and `zip4` one
 *  for each lane from each of four rows. `dot2` adds the products of two words of bf16 to each lane; `matrix` is what
 *  those have in common that multiply words of bf16, or of bytes with and without signs, by matrix registers. */
export type VectorOp =
  | ScalarOp
  | "allOf"
  | "low"
  | "high"
  | "join"
  | `${"lower" | "upper"}_${number}`
  | "select"
  | "resize"
  | "get"
  | "put"
  | "choice"
  | "every2"
  | `${"take" | "give"}_${number}`
  | `dot4_${"us" | "ls" | "ss" | "uu"}`
  | "dot2"
  | "matrix"
  | `matrix_${"bf16" | "ss" | "su" | "us" | "uu"}`
  | `${"spread" | "whole" | "rows" | "turn" | "zip"}4`
  | `total_${ReduceKind}`;

/** How a helper asks for what it is made of. */
export interface Needs {
  readonly type: (element: DType, lanes: number) => string;
  readonly scalar: (op: ScalarOp, dtype: DType, from: DType) => string;
  readonly vector: (op: VectorOp, dtype: DType, from: DType, lanes: number) => string;
}

/** What a language's vectors are. */
export interface Vectors {
  /** Of a register. */
  readonly bytes: number;
  /** Whether a lane can be chosen by the lanes of another vector, of which as many low bits count as number the lanes. */
  readonly chooses: boolean;
  /** The definition of the type of so many lanes. */
  readonly type: (name: string, element: DType, lanes: number) => string;
  /** The definition of a helper function; undefined where there is none.
   *  @param from  the dtype of the argument, where that is not `dtype`: that of a cast, the mask's element */
  readonly helper: (
    name: string,
    op: VectorOp,
    dtype: DType,
    from: DType,
    lanes: number,
    needs: Needs,
  ) => string | undefined;
  /** Lanes that lie side by side in memory, as a value to read or to assign to. */
  readonly place: (pointer: string, type: string) => string;
  readonly pack: (type: string, lanes: readonly string[]) => string;
  readonly lane: (vector: string, i: number) => string;
  /** A vector's bits under another type of the same size. */
  readonly reinterpret: (type: string, value: string) => string;
}
