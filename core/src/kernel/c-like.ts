/** Scheduled kernels as text of a language like C. What such languages share is here and in `c-like-nest.ts`; a language is a table
 *  of what differs: its types, its literals, the helper functions that it defines, its function header. */
import { byteSize, type DType } from "../ir/dtype.ts";
import { known } from "../ir/dim.ts";
import { type Fn, topological } from "../ir/fn.ts";
import { dtypeOf, type Node, type Op, tensorTypeOf } from "../ir/node.ts";
import { within } from "../ir/scope.ts";
import { fail, indexName, NestText, type Writing } from "./c-like-nest.ts";
import { bodyOf, type Item, itemsOf, kernelNode, rangeOfLoop, type StoreNode } from "./nests.ts";

/** A buffer or scalar of a kernel: its name in the text, and its place among the buffers or the scalars. */
export interface Argument {
  readonly name: string;
  readonly dtype: DType;
  readonly place: number;
}

/** What a function header is made of. */
export interface FunctionText {
  readonly name: string;
  readonly buffers: readonly Argument[];
  /** Where each scratch buffer begins in the scratch memory, the last buffer a launch is given, in bytes. */
  readonly scratch: readonly (Argument & { readonly offset: number })[];
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
  /** How names are given to a value, and to an accumulator that begins with it. */
  readonly constant: (type: string, name: string, value: string) => string;
  readonly variable: (type: string, name: string, value: string) => string;
  readonly loop: (index: string, extent: number | string) => string;
  /** The definition of a helper function: an op that is no operator of the language, at a dtype (`max_f32`); a cast or
   *  bitcast between two; `fma`, one rounding for a · b + c. Undefined where the language has no rule for it. */
  readonly helper: (op: Op | "fma", dtype: DType, from: DType) => string | undefined;
  readonly fn: (text: FunctionText) => string;
  /** What stands before all. */
  readonly prelude: string;
}

/** The name of the function that a helper defines. */
export const helperName = (op: Op | "fma", dtype: DType, from: DType): string =>
  op === "cast" || op === "bitcast" ? `${op}_${from}_${dtype}` : `${op}_${dtype}`;

export interface RenderedKernel {
  /** Its function's name. */
  readonly name: string;
  readonly scratchBytes: number;
}

/** One translation unit of these kernels.
 *  @param fused  whether sums of products take one rounding a step (`fma`)
 *  @throws VerifyError for an op or dtype that the language has no rule for */
export function renderCLike(
  kernels: readonly Fn[],
  language: CLike,
  { fused = false }: { readonly fused?: boolean } = {},
): { readonly text: string; readonly kernels: readonly RenderedKernel[] } {
  const helpers = new Map<string, string>();
  const context: Writing = {
    language,
    fused,
    typeOf: (dtype) =>
      language.types[dtype] ?? fail(`there is no type for ${dtype}`, "cast it before code is generated"),
    helper: (op, dtype, from) => {
      const name = helperName(op, dtype, from);
      const text = helpers.get(name) ?? language.helper(op, dtype, from);
      if (text === undefined)
        return fail(`there is no rule for ${op} on ${dtype}`, "expand it before code is generated");
      helpers.set(name, text);
      return name;
    },
  };
  const functions = kernels.map((kernel, i) => kernelText(kernel, `${identifier(kernel.name)}_${i}`, context));
  return {
    text: [language.prelude, ...helpers.values(), ...functions.map((f) => f.text), ""].join("\n"),
    kernels: functions.map(({ name, scratchBytes }) => ({ name, scratchBytes })),
  };
}

const identifier = (name: string): string => `k_${name.replaceAll(/\W/g, "_")}`;

/** Bytes to which each scratch buffer is aligned. */
const alignment = 64;

function kernelText(kernel: Fn, name: string, context: Writing): RenderedKernel & { readonly text: string } {
  const names = new Map<Node, string>();
  const isScalar = (p: Node): boolean => tensorTypeOf(p).space === "host" && tensorTypeOf(p).dims.length === 0;
  const argument = (node: Node, letter: string, place: number): Argument => {
    const own = { name: `${letter}${place}`, dtype: dtypeOf(node), place };
    names.set(node, own.name);
    return own;
  };
  const buffers = kernel.params.filter((p) => !isScalar(p)).map((p, i) => argument(p, "b", i));
  const scalars = kernel.params.filter(isScalar).map((p, i) => argument(p, "s", i));
  let scratchBytes = 0;
  const scratch = topological(kernel.results).flatMap((n) => {
    if (n.op !== "scratch") return [];
    const offset = scratchBytes;
    const bytes = byteSize(dtypeOf(n), known(tensorTypeOf(n).dims[0] ?? 1, kernel.name));
    scratchBytes += Math.ceil(bytes / alignment) * alignment;
    return [{ ...argument(n, "t", n.attr.id), offset }];
  });
  const body = within(kernelNode(kernel).scope, () =>
    itemsOf(kernel).flatMap((item) => itemLines(item, names, context)),
  );
  const text = context.language.fn({
    name,
    buffers,
    scratch,
    scalars,
    body: body.map((line) => `  ${line}`).join("\n"),
  });
  return { name, scratchBytes, text };
}

/** A nest, or a loop around nests. */
function itemLines(item: Item, names: ReadonlyMap<Node, string>, context: Writing): string[] {
  if (item.op === "nest") return new NestText(item.src as readonly StoreNode[], names, context).lines(item);
  const limit = new NestText([], names, context).scalar(item.src[1] as Node);
  const inside = bodyOf(item).flatMap((inner) => itemLines(inner, names, context));
  return [
    "{",
    ...limit.lines.map((line) => `  ${line}`),
    `  ${context.language.loop(indexName(rangeOfLoop(item)), limit.value)} {`,
    ...inside.map((line) => `    ${line}`),
    "  }",
    "}",
  ];
}
