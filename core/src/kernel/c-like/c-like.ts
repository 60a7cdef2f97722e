/** Scheduled kernels as text of a language like C. What such languages share is here and in `c-like/nest.ts`; a language is a table
 *  of what differs: its types, its literals, the helper functions that it defines, its function header. */
import { hashText } from "../../ir/attr.ts";
import { byteSize, type DType } from "../../ir/dtype.ts";
import { known } from "../../ir/dim.ts";
import { type Fn, topological } from "../../ir/fn.ts";
import { dtypeOf, type Node, tensorTypeOf } from "../../ir/node.ts";
import { within } from "../../ir/scope.ts";
import type { Needs, ScalarOp, VectorOp, Vectors } from "./vectors.ts";
import type { Writing } from "./writing.ts";
import { partsOf } from "./parts.ts";
import { fail } from "./text.ts";
import { kernelNode } from "../nests.ts";
import { nearIndices } from "../near-indices.ts";
import { isHostScalar } from "../value-at.ts";

/** A buffer or scalar of a kernel: its name in the text, and its place among the buffers or the scalars. */
export interface Argument {
  readonly name: string;
  readonly dtype: DType;
  readonly place: number;
}

/** What a function is made of: one for each part of a kernel. */
export interface FunctionText {
  readonly name: string;
  readonly buffers: readonly Argument[];
  /** Where each scratch buffer begins in the scratch memory, the last buffer a launch is given, in bytes. */
  readonly scratch: readonly (Argument & { readonly offset: number; readonly buffer: number })[];
  readonly scalars: readonly Argument[];
  readonly body: string;
}

/** A language, as a table of differences. */
export interface CLike {
  /** The type of a value of each dtype. */
  readonly types: Readonly<Partial<Record<DType, string>>>;
  readonly literal: (value: number, dtype: DType) => string;
  readonly load: (buffer: string, index: string, dtype: DType) => string;
  /** A statement. */
  readonly store: (buffer: string, index: string, value: string, dtype: DType) => string;
  readonly select: (condition: string, yes: string, no: string) => string;
  /** A pointer to elements of a dtype; absent where elements are only reached by their number in a buffer. */
  readonly pointer?: (dtype: DType, name: string, value: string) => string;
  /** A statement that keeps a compiler from knowing what a pointer has to do with others. */
  readonly opaque?: (pointer: string) => string;
  /** How a name is given to a vector of memory which a compiler is not to read again where registers are few. */
  readonly kept?: (type: string, name: string, value: string) => string;
  /** A statement that asks for memory which will be read soon, or only once, or written. It may lie behind all memory. */
  readonly prefetch?: (pointer: string, to?: "read" | "once" | "written") => string;
  /** Absent where lanes are to be written out. */
  readonly vectors?: Vectors;
  /** How names are given to a value, and to an accumulator that begins with it. */
  readonly constant: (type: string, name: string, value: string) => string;
  readonly variable: (type: string, name: string, value: string) => string;
  readonly loop: (index: string, extent: number | string, begin?: string) => string;
  /** A loop of which each iteration is to be compiled by itself. */
  readonly unrolled?: (loop: string, extent: number) => string;
  /** An i32 value, of the index of a loop. */
  readonly index: (name: string) => string;
  /** The iterations that a call of a part is to run, as its function's header names them; and where such a bound lies among the
   *  iterations of one of several nests, which begin behind `before` and count as `length`. */
  readonly share: {
    readonly begin: string;
    readonly end: string;
    readonly within: (bound: string, before: number, length: number, extent: number) => string;
  };
  /** Copies elements between places that do not overlap; absent where they are copied one by one. */
  readonly copy?: (to: string, from: string, count: number, dtype: DType) => string;
  /** The definition of a helper function: an op that is no operator of the language, at a dtype (`max_f32`); a cast or
   *  bitcast between two. Undefined where the language has no rule for it. */
  readonly helper: (op: ScalarOp, dtype: DType, from: DType) => string | undefined;
  readonly fn: (text: FunctionText) => string;
  /** What stands before all. */
  readonly prelude: string;
}

/** The name of the function that a helper defines. */
export const helperName = (op: VectorOp, dtype: DType, from: DType): string =>
  op === "cast" || op === "bitcast" || op === "resize" ? `${op}_${from}_${dtype}` : `${op}_${dtype}`;

/** A function of a kernel: all that may run at one time. The parts of a kernel run in turn. */
export interface KernelPart {
  /** Its function's name. */
  readonly symbol: string;
  /** The iterations that threads may share; 1 where nothing is shared. */
  readonly extent: number;
  /** About how many operations all iterations are. */
  readonly work: number;
}

/** A kernel as text that can be joined with that of others. */
export interface KernelText {
  /** Its own: two kernels of one name have the same text. */
  readonly name: string;
  readonly parts: readonly KernelPart[];
  readonly scratchBytes: number;
  /** What the functions need, in order. */
  readonly definitions: readonly string[];
  readonly functions: string;
}

/** A kernel as functions, one for each of its parts.
 *  @param fused  whether sums of products take one rounding a step (`fma`)
 *  @param matrix  whether the processor has matrix registers
 *  @throws VerifyError for an op or dtype that the language has no rule for */
export function renderCLike(
  given: Fn,
  language: CLike,
  { fused = false, matrix = false }: { readonly fused?: boolean; readonly matrix?: boolean } = {},
): KernelText {
  const kernel = nearIndices(given);
  const definitions = new Map<string, string>();
  const context: Writing = {
    language,
    fused,
    matrix,
    typeOf: (dtype) =>
      language.types[dtype] ?? fail(`there is no type for ${dtype}`, "cast it before code is generated"),
    helper: (op, dtype, from) => {
      const name = helperName(op, dtype, from);
      define(definitions, name, () => language.helper(op, dtype, from), `${op} on ${dtype}`);
      return name;
    },
    needs: needsOf(language, definitions, (op, dtype, from) => context.helper(op, dtype, from)),
  };
  const { arguments: args, scratchBytes, names } = argumentsOf(kernel);
  const parts = within(kernelNode(kernel).scope, () => partsOf(kernel, names, context));
  const made = parts.map(({ lines }) => {
    const body = lines.map((line) => `  ${line}`).join("\n");
    const used = new Set(body.match(/\b[bst]\d+\b/g));
    const isUsed = (a: Argument): boolean => used.has(a.name);
    return {
      buffers: args.buffers.filter(isUsed),
      scratch: args.scratch.filter(isUsed),
      scalars: args.scalars.filter(isUsed),
      body,
    };
  });
  const functions = (name: string): string =>
    made.map((own, i) => language.fn({ name: symbolOf(name, i), ...own })).join("\n");
  const unnamed = functions("");
  const digest = [1, 2].map((seed) => (hashText(unnamed, seed) >>> 0).toString(16).padStart(8, "0")).join("");
  const name = `k_${kernel.name.replaceAll(/\W/g, "_")}_${digest}`;
  return {
    name,
    parts: parts.map(({ extent, work }, i) => ({ symbol: symbolOf(name, i), extent, work })),
    scratchBytes,
    definitions: [...definitions.values()],
    functions: functions(name),
  };
}

/** Adds a definition, those that it is made of before it. */
function define(definitions: Map<string, string>, name: string, make: () => string | undefined, what: string): void {
  if (definitions.has(name)) return;
  const text = make() ?? fail(`there is no rule for ${what}`, "expand it before code is generated");
  definitions.set(name, text);
}

function needsOf({ vectors }: CLike, definitions: Map<string, string>, scalar: Needs["scalar"]): Needs {
  const needs: Needs = {
    scalar,
    type: (element, lanes) => {
      const name = `${element}x${lanes}`;
      define(definitions, name, () => vectors?.type(name, element, lanes), `vectors of ${element}`);
      return name;
    },
    vector: (op, dtype, from, lanes) => {
      const name = `${helperName(op, dtype, from)}x${lanes}`;
      const make = (): string | undefined => vectors?.helper(name, op, dtype, from, lanes, needs);
      define(definitions, name, make, `${op} on vectors of ${dtype}`);
      return name;
    },
  };
  return needs;
}

const symbolOf = (name: string, part: number): string => `${name}_p${part}`;

/** One translation unit of kernels in a language. */
export function unitOf(kernels: readonly KernelText[], language: CLike): string {
  const definitions = new Set(kernels.flatMap((k) => k.definitions));
  const functions = new Map(kernels.map((k) => [k.name, k.functions]));
  return [language.prelude, ...definitions, ...functions.values(), ""].join("\n");
}

/** Bytes to which each scratch buffer is aligned. */
const alignment = 64;

interface Arguments {
  readonly arguments: Pick<FunctionText, "buffers" | "scratch" | "scalars">;
  readonly scratchBytes: number;
  readonly names: ReadonlyMap<Node, string>;
}

function argumentsOf(kernel: Fn): Arguments {
  const names = new Map<Node, string>();
  const argument = (node: Node, letter: string, place: number): Argument => {
    const own = { name: `${letter}${place}`, dtype: dtypeOf(node), place };
    names.set(node, own.name);
    return own;
  };
  const buffers = kernel.params.filter((p) => !isHostScalar(p)).map((p, i) => argument(p, "b", i));
  const scalars = kernel.params.filter(isHostScalar).map((p, i) => argument(p, "s", i));
  let scratchBytes = 0;
  const scratch = topological(kernel.results).flatMap((n) => {
    if (n.op !== "scratch") return [];
    const offset = scratchBytes;
    const bytes = byteSize(dtypeOf(n), known(tensorTypeOf(n).dims[0] ?? 1, kernel.name));
    scratchBytes += Math.ceil(bytes / alignment) * alignment;
    return [{ ...argument(n, "t", n.attr.id), offset, buffer: buffers.length }];
  });
  return { arguments: { buffers, scratch, scalars }, scratchBytes, names };
}
