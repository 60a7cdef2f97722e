/** The ops that random graphs are made of, by what tests rely on. Every such list is put together here, so that a new op is added once. */
import type { Op } from "../../core/src/ir/node.ts";

export const unaryOps = [
  "neg",
  "abs",
  "sign",
  "sqrt",
  "rsqrt",
  "exp",
  "log",
  "sin",
  "cos",
  "tanh",
  "erf",
  "floor",
  "round",
  "not",
] as const satisfies readonly Op[];
export const binaryOps = [
  "add",
  "sub",
  "mul",
  "div",
  "idiv",
  "mod",
  "pow",
  "max",
  "min",
  "lt",
  "eq",
  "and",
  "or",
  "xor",
  "shl",
  "shr",
] as const satisfies readonly Op[];
const movementOps = ["reshape", "permute", "expand", "pad", "slice", "flip", "concat"] as const satisfies readonly Op[];
const sums = ["reduce", "dot"] as const satisfies readonly Op[];
const markOps = ["stopGradient", "alias", "assign"] as const satisfies readonly Op[];

/** Of the rare ones: element-wise ones of one float. */
export const specialOps = [
  "expm1",
  "log1p",
  "exp2",
  "log2",
  "log10",
  "tan",
  "asin",
  "acos",
  "atan",
  "sinh",
  "cosh",
  "asinh",
  "acosh",
  "atanh",
  "erfc",
] as const satisfies readonly Op[];
/** Those that move, sort, add or multiply, and so are exact on integers. */
export const wholeOps = [
  "argsort",
  "conv",
  "convWeights",
  "window",
  "scatterReduce",
  "cumulate",
] as const satisfies readonly Op[];
export const controlOps = ["scan", "cond", "while"] as const satisfies readonly Op[];
export const rareOps = [...specialOps, ...wholeOps, ...controlOps, "atan2"] as const satisfies readonly Op[];

/** Every op of the tensor level. */
export const tensorOps: readonly Op[] = [
  ...unaryOps,
  ...binaryOps,
  "where",
  "cast",
  "bitcast",
  ...movementOps,
  ...sums,
  "gather",
  "scatter",
  ...rareOps,
  "iota",
  "random",
  "const",
  ...markOps,
  "call",
  "item",
];

/** Those whose result is rounded in ways of its own on each device. */
const approximate: ReadonlySet<Op> = new Set(["rsqrt", "exp", "log", "sin", "cos", "tanh", "erf", "pow"]);

/** Those that round exactly alike everywhere, whatever the dtype. */
export const exactOps: readonly Op[] = [
  ...[...unaryOps, ...binaryOps].filter((op) => !approximate.has(op)),
  "where",
  "cast",
  "bitcast",
  ...movementOps,
  "gather",
  "argsort",
  "iota",
  "random",
  "const",
  ...markOps,
  "call",
  "item",
];

/** Those that are exact on integers alone; loops and choices. */
export const wholeGraphOps: readonly Op[] = [
  ...wholeOps,
  ...controlOps,
  "add",
  "mul",
  "max",
  "where",
  ...sums,
  "reshape",
  "permute",
  "expand",
  "cast",
];

/** What smooth functions are made of beside element-wise ops. */
const shaping = [...movementOps, ...sums, "gather", "scatter", "iota", "const", "call", "item"] as const;

/** Those that have a derivative almost everywhere, and finite values of finite ones. */
export const differentiableOps: readonly Op[] = [
  "neg",
  "exp",
  "sin",
  "cos",
  "tanh",
  "erf",
  "add",
  "sub",
  "mul",
  "where",
  ...shaping,
  "cumulate",
  "conv",
  "convWeights",
  "window",
  "scan",
  "cond",
];

/** Whose result is small where they make much of an error of their source. */
const rootLike: ReadonlySet<Op> = new Set(["asin", "acos", "acosh"]);

/** Those of floats that make no more of an error than can be told from the sizes of the values. */
export const smoothOps: readonly Op[] = [
  ...wholeOps.filter((op) => op !== "argsort"),
  ...specialOps.filter((op) => !rootLike.has(op)),
  ...controlOps,
  "atan2",
  "neg",
  "abs",
  "exp",
  "log",
  "sin",
  "cos",
  "tanh",
  "erf",
  "sqrt",
  "add",
  "sub",
  "mul",
  "max",
  "min",
  "where",
  ...shaping,
  "cast",
];
