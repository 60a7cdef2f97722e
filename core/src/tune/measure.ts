/** Runs one kernel under several schedules, on random inputs, and holds what it computes against what the heuristic's schedule does. */
import { render } from "../compiler/kernels.ts";
import { ScheduleError } from "../errors.ts";
import { known, sizeOf } from "../ir/dim.ts";
import { type DType, dtypes, isFloat } from "../ir/dtype.ts";
import type { Fn } from "../ir/fn.ts";
import type { TensorType } from "../ir/type.ts";
import { collected } from "../explain/collect.ts";
import type { Artifact } from "../runtime/driver.ts";
import { type Plan, Program, type Slot, typeBytes } from "../runtime/program.ts";
import type { Stream } from "../runtime/stream.ts";
import { clock } from "../runtime/watch.ts";
import { decode, encode } from "../tensor/dtypes.ts";
import { type Choices, chooserOf } from "./choices.ts";

/** How results of two schedules differ. */
export type Agreement = "same bits" | "other bits" | "wrong";

/** A kernel that is ready to run under some choices. */
export interface Candidate {
  readonly choices: Choices;
  readonly agreement: Agreement;
  /** The least milliseconds of some launches; undefined once it is known to be above `limit`. */
  time(limit: number): Promise<number | undefined>;
}

/** Launches of a kernel, on inputs of its own. */
export interface KernelBench {
  /** Made together, so that a compiler has them at once; undefined for choices that make no kernel. The first are the heuristic's. */
  prepare(list: readonly Choices[]): Promise<readonly (Candidate | undefined)[]>;
  close(): void;
}

export type BenchFor = (group: Fn, stream: Stream) => Promise<KernelBench>;

/** Engines compile code that runs often once more; before that it says little. */
const warm = { launches: 4, milliseconds: 15 } as const;
const timed = { launches: 5, milliseconds: 15, most: 100 } as const;

/** Code of more than so many times the heuristic's is not built: compilers take long over it, and it misses the caches of code. */
const mostCode = 2;

export const benchKernel: BenchFor = async (group, stream) => {
  const { hardware } = await stream.opened();
  const types = group.params.map((p) => p.type as TensorType);
  const random = generator(1);
  const args = types.map((type) =>
    type.space === "host" ? (isFloat(type.dtype) ? 0.5 : 1) : stream.upload(type, randomBytes(type, random)),
  );
  let reference: readonly Uint8Array[] | undefined;
  const codes = new Set<string>();
  /** The length of the heuristic's code. */
  let plain: number | undefined;

  const run = async (program: Program): Promise<void> => {
    const outputs = program.run(args);
    const [first] = [...outputs].sort((a, b) => a.bytes - b.bytes);
    if (first) await stream.read(first);
    for (const output of outputs) output.release();
  };
  const results = async (program: Program): Promise<Uint8Array[]> => {
    const outputs = program.run(args);
    const bytes: Uint8Array[] = [];
    for (const output of outputs) {
      bytes.push(await stream.read(output));
      output.release();
    }
    return bytes;
  };
  /** For at least so many launches and so long; the least milliseconds of one. */
  const least = async (program: Program, launches: number, milliseconds: number): Promise<number> => {
    const begin = clock();
    let fastest = Number.POSITIVE_INFINITY;
    const { times } = await collected(stream, async () => {
      for (let i = 0; i < timed.most && (i < launches || clock() - begin < milliseconds); i++) {
        const from = clock();
        await run(program);
        fastest = Math.min(fastest, clock() - from);
      }
    });
    const [own] = (await program.loaded()).executables;
    return times.get(own)?.least ?? fastest;
  };
  const candidateOf = async (choices: Choices, program: Program): Promise<Candidate> => {
    const made = await results(program);
    reference ??= made;
    const agreement = agreementOf(reference, made, group);
    let isWarm = false;
    return {
      choices,
      agreement,
      async time(limit) {
        if (!isWarm) {
          const first = await least(program, warm.launches, warm.milliseconds);
          isWarm = true;
          if (first > limit) return undefined;
        }
        return least(program, timed.launches, timed.milliseconds);
      },
    };
  };

  return {
    async prepare(list) {
      const programs = list.map((choices) => {
        try {
          const artifact = render(group, hardware, chooserOf(choices));
          const { code } = artifact;
          plain ??= code.length;
          // Choices that came out as others did are measured with them.
          const text = typeof code === "string" ? code : code.join();
          if (code.length > mostCode * plain || codes.has(text)) return undefined;
          codes.add(text);
          return new Program(group, stream, () => planOf(group, artifact, hardware.limits.alignment));
        } catch (error) {
          if (error instanceof ScheduleError) return undefined;
          throw error;
        }
      });
      const candidates: (Candidate | undefined)[] = [];
      await Promise.all(programs.map((program) => program?.loaded() ?? Promise.resolve()));
      for (const [i, program] of programs.entries())
        candidates.push(program && (await candidateOf(list[i] ?? {}, program)));
      return candidates;
    },
    close() {
      for (const a of args) if (typeof a !== "number") a.release();
    },
  };
};

/** A plan of one kernel. */
function planOf(group: Fn, artifact: Artifact, alignment: number): Plan {
  const types = group.params.map((p) => p.type as TensorType);
  const inputs = types.flatMap((type, index): Slot[] =>
    type.space === "host" ? [] : [{ kind: "input", index, bytes: typeBytes(type) }],
  );
  const scalars = types.flatMap(({ space }, index) => (space === "host" ? [index] : []));
  const outputs = group.results.map(
    (r, index): Slot => ({ kind: "output", index, bytes: typeBytes(r.type as TensorType) }),
  );
  const bytes = artifact.scratchBytes;
  const scratch: Slot[] = bytes > 0 ? [{ kind: "temporary", block: 0, offset: 0, bytes }] : [];
  const blocks = bytes > 0 ? [bytes] : [];
  const reuse = group.results.map(() => -1);
  return {
    name: group.name,
    artifacts: [artifact],
    steps: [{ kernel: 0, slots: [...inputs, ...outputs, ...scratch], scalars }],
    blocks,
    reuse,
    layout: { values: [], uses: [], memory: { blocks, places: [], scratch: [], reuse }, alignment },
  };
}

/** What a sum in another order may differ by, beside the largest element: some roundings of the dtype that is computed in. */
const tolerance = (dtype: DType): number => (dtype === "f64" ? 1e-11 : dtypes[dtype].bits === 16 ? 2e-2 : 2e-4);

export function agreementOf(expected: readonly Uint8Array[], got: readonly Uint8Array[], { results }: Fn): Agreement {
  let found: Agreement = "same bits";
  results.forEach((r, i) => {
    const [a, b] = [expected[i] as Uint8Array, got[i] as Uint8Array];
    if (a.every((byte, at) => byte === b[at])) return;
    const { dtype } = r.type as TensorType;
    const isNear = isFloat(dtype) && near(dtype, a, b);
    if (!isNear) found = "wrong";
    else if (found !== "wrong") found = "other bits";
  });
  return found;
}

function near(dtype: DType, a: Uint8Array, b: Uint8Array): boolean {
  const [x, y] = [a, b].map((bytes) => Array.from(decode(dtype, bytes.slice()), Number)) as [number[], number[]];
  const largest = x.reduce((most, value) => (Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most), 0);
  const allowed = tolerance(dtype) * largest;
  return x.every((value, i) => Object.is(value, y[i]) || Math.abs(value - (y[i] ?? Number.NaN)) <= allowed);
}

/** Floats from −1 to 1; whole numbers 0 and 1, which are places in everything that is looked up. */
function randomBytes(type: TensorType, random: () => number): Uint8Array {
  const { dtype, dims } = type;
  const count = known(sizeOf(dims), "an argument");
  // Half floats below 2, and nibbles of any value but the highest.
  if (dtypes[dtype].role === "block") {
    const bytes = new Uint8Array(typeBytes(type));
    return bytes.map(() => Math.floor(random() * 0x3c));
  }
  const values = Array.from({ length: count }, () => (isFloat(dtype) ? 2 * random() - 1 : Math.floor(2 * random())));
  return encode(dtype, values);
}

/** The same numbers each time, from 0 to 1. xorshift32, Marsaglia 2003. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
