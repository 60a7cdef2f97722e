/** `jit`: a function traced once for each structure of its arguments and run as one program. */
import { ArgumentError, DisposedError, TraceError } from "../errors.ts";
import { newProgram, programFor } from "../compiler/cache.ts";
import type { Fit } from "../compiler/layout.ts";
import type { Tuning } from "../compiler/tuning.ts";
import { dimText } from "../ir/dim.ts";
import { isHost, type Node } from "../ir/node.ts";
import { currentScope } from "../ir/scope.ts";
import { located, takeSite } from "../ir/site.ts";
import { type TensorType, tensorType } from "../ir/type.ts";
import type { Buffer } from "../runtime/buffer.ts";
import type { Sure } from "../runtime/kept.ts";
import type { Program } from "../runtime/program.ts";
import type { Stream } from "../runtime/stream.ts";
import { encode } from "./dtypes.ts";
import type { Frozen, Make } from "./frozen.ts";
import { flush, streamOf } from "./flush.ts";
import { isPending, isTransforming, lazyScope, leaf } from "./pending.ts";
import { type Found, matches, type Pattern, patternOf, valueOf } from "./repeat.ts";
import { Tensor } from "./tensor.ts";
import { type Entry, nameOf, type Signature, signatureOf, traceCall } from "./signature.ts";
import type { Symbols } from "./symbolic.ts";
import { builderOf, type Traced } from "./trace.ts";

/** Positions of arguments, or the keys of a single record argument. */
type Names<A extends readonly unknown[]> = readonly (
  | number
  | (A extends readonly [infer R] ? Extract<keyof R, string> : never)
)[];

/** What a compiled function may do to its inputs, and how it is compiled. */
export interface JitOptions<A extends readonly unknown[]> {
  /** Arguments whose memory the call may take for its results; they must not be used afterwards. */
  readonly donate?: Names<A>;
  /** Arguments that are part of the program: told apart by identity, traced as they are. */
  readonly static?: Names<A>;
  readonly name?: string;
  /** Makes the plan need less memory: `memoryBudget(bytes)`. */
  readonly fit?: Fit;
  /** Makes kernels by what was measured, as `sinan/tune` finds and reads it. */
  readonly tune?: Tuning;
  /** Packs weights once instead of at each call: `frozen(…)`. */
  readonly frozen?: Frozen;
  /** Sizes that may change without a new trace: `symbolic({ … })`. */
  readonly symbols?: Symbols;
}

/** The predicate of leaves under some named arguments. */
function under(names: readonly (string | number)[] | undefined, arity: number): (path: string) => boolean {
  if (!names || names.length === 0) return () => false;
  if (names.some((n) => typeof n === "string") && arity !== 1)
    throw new ArgumentError(
      `jit: keys ${names.join(", ")} name parts of a single record argument, but the call has ${arity} arguments`,
    );
  const prefixes = names.map((n) => (typeof n === "number" ? String(n) : `0.${n}`));
  return (path) => prefixes.some((p) => path === p || path.startsWith(`${p}.`));
}

interface Compiled {
  readonly traced: Traced;
  /** Of the arguments that were traced. */
  readonly pattern: Pattern;
  readonly donated: ReadonlySet<number>;
  readonly fit: Fit | undefined;
  readonly tune: Tuning | undefined;
  /** Finds or makes its program. */
  readonly make: typeof programFor | Make;
  /** Puts the results' tree around the outputs of a call. */
  readonly build: (outputs: readonly Tensor[]) => unknown;
  /** The program, on the device of the last call. */
  program: { readonly on: Stream; readonly run: Program } | undefined;
}

/** A call that is not run: its program, and what it would be given. */
export interface Call {
  readonly program: Program;
  readonly args: readonly (Buffer | number)[];
}

/** For each jitted function what finds the program of a call without running it. */
export const callOf = new WeakMap<object, (args: readonly unknown[]) => Call>();

const traceWarning = 3;
/** Sizes for which the program of one jitted function is kept, the last used ones. */
const keptSizes = 32;

/** f compiled: traced at the first call for each structure of arguments (dtypes, shapes, keys), then run as one program.
 *
 *  Numbers are inputs and may change freely. Tensors that f captures are read when it is called, and `assign` to one in f is
 *  done when it is called. `donate` lets results take the memory of arguments.
 *  @throws TraceError if f reads a value while it is traced; ArgumentError for a donated tensor that is also used otherwise
 *  @example const step = jit(({ state, x }) => ({ state: update(state, x) }), { donate: ["state"] }); */
export function jit<A extends readonly unknown[], Y>(
  f: (...args: A) => Y,
  options: JitOptions<A> = {},
): (...args: A) => Y {
  const name = nameOf(f, options.name);
  const { fit, tune, symbols, frozen } = options;
  const traces = new Map<string, Traced>();
  const compiled = new Map<string, Compiled>();
  let last: Signature | undefined;
  let recent: Compiled | undefined;
  const prepare = (args: A): { entry: Compiled; signature: Signature } => {
    const isStatic = under(options.static, args.length);
    const sizes = new Map<string, number>();
    const typeAt = symbols && ((path: string, type: TensorType) => symbols.typeAt(path, type, sizes));
    const signature = signatureOf(args, isStatic, typeAt);
    const key = symbols ? `${signature.key} ${[...sizes].join(" ")}` : signature.key;
    let entry = compiled.get(key);
    if (!entry || !stillFits(entry.traced)) {
      let traced = traces.get(signature.key);
      if (!traced || !stillFits(traced)) {
        if (traces.size >= traceWarning - 1 && last && !traced)
          console.warn(retraceMessage(name, traces.size + 1, last, signature));
        traced = traceCall(name, f, args, signature, "host");
        traces.set(signature.key, traced);
      }
      entry = {
        traced: symbols ? { ...traced, fn: symbols.bind(traced.fn, sizes) } : traced,
        pattern: patternOf(args, isStatic),
        donated: donatedInputs(signature, under(options.donate, args.length)),
        fit,
        tune,
        make:
          frozen?.of(traced, donatedInputs(signature, under(frozen.names, args.length))) ??
          (symbols ? newProgram : programFor),
        build: builderOf(traced.output),
        program: undefined,
      };
    }
    // The order of the map is that of the last use.
    if (symbols) compiled.delete(key);
    compiled.set(key, entry);
    if (symbols && compiled.size > keptSizes) compiled.delete([...compiled.keys()][0] ?? key);
    last = signature;
    recent = entry;
    return { entry, signature };
  };
  const jitted = (...args: A): Y => {
    // Inside a trace or a transform its operations are those of the caller.
    if (currentScope() !== lazyScope || isTransforming()) return f(...args);
    if (recent) {
      const again = recent;
      const found: Found = { args: [] };
      const { args: inputs } = found;
      if (matches(again.pattern, args, found) && addCaptured(again.traced, inputs))
        return located(() => execute(again, inputs, name, found.sure)) as Y;
    }
    const { entry, signature } = prepare(args);
    return located(() => execute(entry, argumentsOf(entry.traced, signature, name), name)) as Y;
  };
  callOf.set(jitted, (args) => {
    const { entry, signature } = prepare(args as A);
    const given = argumentsOf(entry.traced, signature, name);
    return { program: programOf(entry, given), args: given };
  });
  return jitted;
}

/** A captured tensor may have been given another shape since. */
const stillFits = ({ fn, captured }: Traced): boolean => {
  const first = fn.params.length - captured.length;
  return captured.every((t, i) => {
    if (typeof t === "number") return true;
    const type = fn.params[first + i]?.type as TensorType;
    return type.dtype === t.dtype && type.dims.length === t.dims.length && type.dims.every((d, a) => d === t.dims[a]);
  });
};

function donatedInputs({ leaves, entries }: Signature, isDonated: (path: string) => boolean): ReadonlySet<number> {
  const donated = new Set<number>();
  let index = 0;
  leaves.forEach(({ path }, i) => {
    const { kind } = entries[i] as Entry;
    if (kind === "fixed") return;
    if (kind === "tensor" && isDonated(path)) donated.add(index);
    index++;
  });
  return donated;
}

function execute(compiled: Compiled, args: readonly (Buffer | number)[], name: string, given?: Sure): unknown {
  const { traced, donated, build } = compiled;
  const sure = given && !holdsAny(given, donated) ? given : undefined;
  checkDonation(args, donated, name);
  const outputs = programOf(compiled, args, sure).run(args, donated, takeSite, sure);
  const own = outputs.length - traced.assigned.length;
  traced.assigned.forEach((t, i) => {
    const buffer = outputs[own + i] as Buffer;
    t.rebind(leaf(buffer.type, buffer));
  });
  const results = own < outputs.length ? outputs.slice(0, own) : outputs;
  return build(results.map((buffer) => new Tensor(leaf(buffer.type, buffer))));
}

/** Whether donated arguments are among those. */
function holdsAny({ from, values }: Sure, donated: ReadonlySet<number>): boolean {
  for (const i of donated) if (i >= from && i < from + values.length) return true;
  return false;
}

function programOf(compiled: Compiled, args: readonly (Buffer | number)[], sure?: Sure): Program {
  const { traced, donated, fit, tune, make, program } = compiled;
  const on = streamOf(args, sure);
  if (program?.on === on) return program.run;
  const run = make(traced.fn, on, donated, fit, tune);
  compiled.program = { on, run };
  return run;
}

/** Adds the values of what the function captured to those of its arguments; false where one has none yet, or another shape. */
function addCaptured({ fn, captured }: Traced, args: (Buffer | number)[]): boolean {
  for (const t of captured) {
    const value = typeof t === "number" ? args[t] : valueOf(t, fn.params[args.length]?.type as TensorType);
    if (value === undefined) return false;
    args.push(value);
  }
  return true;
}

/** The buffers and numbers that a call gives its program, computed where they are pending. */
function argumentsOf(traced: Traced, { leaves, entries }: Signature, name: string): (Buffer | number)[] {
  const inputs: Tensor[] = [];
  const args: (Buffer | number)[] = [];
  const pending: Node[] = [];
  const give = (value: unknown): void => {
    if (typeof value === "number") args.push(value);
    else {
      const t = value as Tensor;
      if (!isPending(t.own)) throw new TraceError(`${name}: a tensor of a trace was given to a call outside it`);
      pending.push(t.own);
      inputs.push(t);
      args.push(0);
    }
  };
  leaves.forEach(({ value }, i) => {
    if ((entries[i] as Entry).kind !== "fixed") give(value);
  });
  for (const t of traced.captured) give(typeof t === "number" ? args[t] : t);
  flush(pending);
  let next = 0;
  const isNumber = traced.fn.params.map(isHost);
  args.forEach((_, i) => {
    if (!isNumber[i]) args[i] = bufferOf(inputs[next++] as Tensor);
  });
  return args;
}

/** The buffer of a tensor; a number given where a tensor was traced becomes one. */
function bufferOf(t: Tensor): Buffer {
  const value = t.buffer();
  if (typeof value !== "number") return value;
  const type = tensorType(t.dtype);
  return streamOf([]).upload(type, encode(t.dtype, [value]));
}

/** Refuses what is donated and given in another place too, or was donated before. Nothing of the other arguments is read. */
function checkDonation(args: readonly (Buffer | number)[], donated: ReadonlySet<number>, name: string): void {
  if (donated.size === 0) return;
  const places = new Map<Buffer | number | undefined, number>();
  for (const i of donated) places.set(args[i], i);
  args.forEach((a, i) => {
    const place = places.get(a);
    if (place === undefined || typeof a === "number") return;
    if (place !== i)
      throw new ArgumentError(
        `${name}: one tensor is donated and also given in another place (inputs ${place} and ${i})`,
        { hint: "give a copy, or do not donate it" },
      );
    if (a.gone) throw new DisposedError(`${name}: input ${i} was donated before`);
  });
}

function retraceMessage(name: string, count: number, before: Signature, now: Signature): string {
  const was = new Map(before.leaves.map(({ path }, i) => [path, before.entries[i]]));
  const spell = (e: Entry | undefined) =>
    e === undefined
      ? "absent"
      : e.kind === "tensor"
        ? `${e.type.dtype}[${e.type.dims.map(dimText).join(", ")}]`
        : e.kind;
  const changed = now.leaves.flatMap(({ path }, i) =>
    spell(was.get(path)) === spell(now.entries[i])
      ? []
      : [`${path}: ${spell(was.get(path))} → ${spell(now.entries[i])}`],
  );
  return `sinan: ${name} has been traced ${count} times; what changed last: ${changed.slice(0, 3).join("; ") || "a static value or the tree's structure"}`;
}
