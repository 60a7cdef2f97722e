/** `frozen`: weights of a jitted function that stay the same from call to call. What its products pack of them is kept with them. */
import { compile } from "../compiler/compile.ts";
import { frozenPlan, type Packed } from "../compiler/frozen-plan.ts";
import type { Fit } from "../compiler/layout.ts";
import type { Tuning } from "../compiler/tuning.ts";
import { type Fn, fnEqual, makeFn } from "../ir/fn.ts";
import type { Node } from "../ir/node.ts";
import { within } from "../ir/scope.ts";
import type { Site } from "../ir/site.ts";
import type { TensorType } from "../ir/type.ts";
import { build } from "../ops/build.ts";
import { newScope } from "../ops/table.ts";
import type { Buffer } from "../runtime/buffer.ts";
import type { HardwareModel } from "../runtime/hardware.ts";
import type { Sure } from "../runtime/kept.ts";
import { type Loaded, type Plan, Program, typeBytes } from "../runtime/program.ts";
import type { Stream } from "../runtime/stream.ts";
import { Tensor } from "./tensor.ts";
import type { Traced } from "./trace.ts";

/** Finds or makes the program of a trace. */
export type Make = (
  fn: Fn,
  stream: Stream,
  donated: ReadonlySet<number>,
  fit: Fit | undefined,
  tune: Tuning | undefined,
) => Program;

/** Which arguments stay, as `jit` takes it. */
export interface Frozen {
  readonly names: readonly (number | string)[];
  /** @param named  those of the trace's inputs that were named */
  of(traced: Traced, named: ReadonlySet<number>): Make;
}

/** Arguments that are seldom other tensors than in the call before, as a model's weights in inference: an option of `jit`. By position,
 *  or by the keys of a single record argument; tensors that the function captures and does not assign are always among them.
 *
 *  What products read of them is packed in the order in which it is read, once, and kept as long as they are: they then take their memory
 *  twice. Nothing else changes: results have the same bits, and other tensors in their place are packed anew. It holds for calls made when
 *  the device is open. A donated argument is none of them.
 *  @example
 *  const model = nn.linear(64, 32).init(key(0));
 *  const predict = jit((m: typeof model, x: Tensor) => m(x), { frozen: frozen(0) });
 *  console.log(predict(model, ones([1, 64])).shape); // → [ 1, 32 ] */
export const frozen = (...names: readonly (number | string)[]): Frozen => ({
  names,
  of: ({ fn: { params }, captured, assigned }, named) => {
    const all = new Set(named);
    captured.forEach((t, i) => {
      if (t instanceof Tensor && !assigned.includes(t)) all.add(params.length - captured.length + i);
    });
    return (fn, stream, donated, fit, tune) => {
      const kept = new Set([...all].filter((i) => !donated.has(i)));
      return frozenProgram({ fn, stream, kept, donated, fit, tune });
    };
  },
});

interface Settings {
  readonly fn: Fn;
  readonly stream: Stream;
  /** The inputs that stay. */
  readonly kept: ReadonlySet<number>;
  readonly donated: ReadonlySet<number>;
  readonly fit: Fit | undefined;
  readonly tune: Tuning | undefined;
}

function frozenProgram(settings: Settings): Program {
  const { fn, stream, kept, donated, fit, tune } = settings;
  const { hardware } = stream;
  const packed: Packed[] = [];
  return new FrozenProgram(settings, packed, (f, model) => {
    const made = (): Plan => {
      const plan = compile(f, model, donated, fit);
      // Who made the program gives it nothing that is packed for another device, or another of its tiers.
      if (model !== hardware) return plan;
      const whole = frozenPlan(plan, fn.params.length, model, kept);
      packed.push(...whole.packed);
      return whole.plan;
    };
    return tune ? tune.within(made) : made();
  });
}

/** A program that takes, behind its arguments, what is packed of them. */
class FrozenProgram extends Program {
  readonly #settings: Settings;
  /** What the device was when it was made; null before it was open. */
  readonly #hardware: HardwareModel | null;
  readonly #packed: readonly (Packed & { readonly by: Program })[];
  /** The program for what the device is now. */
  #next: Program | undefined;

  constructor(settings: Settings, packed: readonly Packed[], compiled: (fn: Fn, hardware: HardwareModel) => Plan) {
    const { fn, stream } = settings;
    super(fn, stream, compiled);
    const { hardware } = stream;
    this.#settings = settings;
    this.#hardware = hardware;
    this.#packed = hardware ? packed.map((p) => ({ ...p, by: packing(p, stream, hardware) })) : [];
  }

  /** The one that replaced this, if the device is another one by now. */
  #later(): Program | undefined {
    if (this.#hardware === this.stream.hardware) return undefined;
    return (this.#next ??= frozenProgram(this.#settings));
  }

  override run(
    args: readonly (Buffer | number)[],
    donated?: ReadonlySet<number>,
    takeSite?: () => Site,
    sure?: Sure,
  ): Buffer[] {
    const later = this.#later();
    if (later) return later.run(args, donated, takeSite, sure);
    const panels = this.#packed.map(({ input, by }) => panelsOf(args[input] as Buffer, by));
    return super.run([...args, ...panels], donated, takeSite, sure);
  }

  override loaded(): Promise<Loaded> {
    return this.#later()?.loaded() ?? super.loaded();
  }

  override get ready(): Loaded | null {
    return this.#later()?.ready ?? super.ready;
  }
}

/** What was packed of a buffer, by the program that did it. A buffer has one value for all its life. */
const copies = new WeakMap<Buffer, Map<Program, Buffer>>();

function panelsOf(weights: Buffer, by: Program): Buffer {
  weights.check();
  const own = copies.get(weights) ?? new Map<Program, Buffer>();
  copies.set(weights, own);
  const known = own.get(by);
  if (known && !known.failure && !known.gone) return known;
  const [made] = by.run([weights]) as [Buffer];
  own.set(by, made);
  return made;
}

interface Packing {
  readonly kernel: Fn;
  readonly hardware: HardwareModel;
  readonly program: Program;
}

const packings = new WeakMap<Stream, Packing[]>();

/** The program that packs so, one for all that want it. */
function packing({ kernel, type, artifact }: Packed, stream: Stream, hardware: HardwareModel): Program {
  const own = packings.get(stream) ?? [];
  packings.set(stream, own);
  const known = own.find((p) => p.hardware === hardware && fnEqual(p.kernel, kernel));
  if (known) return known.program;
  const [from] = kernel.params;
  const values = within(newScope(), () => [param(0, (from as Node).type as TensorType), param(1, type)] as const);
  const program = new Program(makeFn(artifact.name, [values[0]], [values[1]]), stream, (_, model) =>
    packPlan(artifact, values, model === hardware, model.limits.alignment),
  );
  own.push({ kernel, hardware, program });
  return program;
}

const param = (index: number, type: TensorType) => build("param", [], { index, name: "", type });

/** A plan of one step; of none on another tier than that of the kernel, where nothing reads what it gives. */
function packPlan(
  artifact: Plan["artifacts"][number],
  nodes: readonly [Node, Node],
  isThere: boolean,
  alignment: number,
): Plan {
  const [from, to] = nodes.map(({ type }) => typeBytes(type as TensorType)) as [number, number];
  const slots = [
    { kind: "input", index: 0, bytes: from },
    { kind: "output", index: 0, bytes: to },
  ] as const;
  const memory = { blocks: [], places: [undefined, undefined], scratch: [undefined], reuse: [-1] };
  const values = [
    { bytes: from, input: 0, node: nodes[0] },
    { bytes: to, output: 0, node: nodes[1] },
  ];
  return {
    name: artifact.name,
    artifacts: isThere ? [artifact] : [],
    steps: isThere ? [{ kernel: 0, slots, scalars: [] }] : [],
    blocks: [],
    reuse: [-1],
    layout: {
      values,
      uses: isThere ? [{ reads: [0], writes: [1], inPlace: [], scratch: 0, work: from }] : [],
      memory,
      alignment,
    },
  };
}
