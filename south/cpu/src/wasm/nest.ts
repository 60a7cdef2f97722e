/** One nest of a kernel as machine values in a tree of loops: output loops inside each other, and in each of them the
 *  reduction loops whose results do not change further in. Instances of unrolled ranges are expressions with numbers in the
 *  range's place; lanes of the vector range are parts of 128 bits. */

import { type DType, dtypeOf, identityOf, type Node, type NodeOf, type ReduceKind, topological } from "sinan/south";
import { VerifyError } from "sinan/south";
import { castValue, roundedBy } from "./convert.ts";
import { constant, extract, type Lanes, type Machine, pack, shapeOf, splat, uniform, vector } from "./lanes.ts";
import { loadLanes, type Memory, type Store, storeLanes } from "./memory.ts";
import { rulesOf } from "./rules.ts";
import { type Binding, type Substitution, substitution } from "./substitute.ts";
import { newRegion, type Region, type Value, ValueGraph } from "./value.ts";
import { combine, elementwise } from "./vector-ops.ts";

type RangeNode = NodeOf<"range">;

export interface Loop {
  readonly region: Region;
  readonly parent: Loop | undefined;
  /** Absent for the code around all loops. */
  readonly range: RangeNode | undefined;
  readonly groups: Group[];
  /** Per instance of the unrolled ranges, in order: its stores. Only in the innermost output loop. */
  readonly stores: (readonly Store[])[];
  inner: Loop | undefined;
  readonly memo: Map<Node, Lanes>;
}

/** Accumulates that run in the same loops. */
export interface Group {
  readonly key: string;
  readonly stage: number;
  readonly loops: readonly Loop[];
  readonly accumulators: Accumulator[];
}

export interface Accumulator {
  readonly init: Value;
  /** The local inside of the loops and after them. */
  readonly running: Value;
  readonly result: Value;
  readonly update: Value;
}

export interface NestCode {
  readonly graph: ValueGraph;
  readonly root: Loop;
  /** Where the code is for a value rather than for what it stores. */
  readonly value?: Value | undefined;
}

/** Where the function's parameters are: the buffers' addresses, and the scalars. */
export interface Parameters {
  readonly addresses: ReadonlyMap<Node, { readonly local: number; readonly bytes: number; readonly memory: number }>;
  readonly scalars: ReadonlyMap<Node, { readonly local: number; readonly type: "i32" | "f32" | "f64" }>;
}

const vectorWidths = new Set([2, 4, 8, 16]);

/** @returns undefined if the nest has no iterations */
export function lowerNest(nest: NodeOf<"nest">, parameters: Parameters, fused: boolean): NestCode | undefined {
  const ranges = new Map<number, RangeNode>();
  const inner = new Set<number>();
  const stored = new Set<Node>();
  for (const n of topological(nest.src)) {
    if (n.op === "range") ranges.set(n.attr.id, n);
    if (n.op === "accumulate") for (const r of n.src.slice(1)) if (r.op === "range") inner.add(r.attr.id);
    if (n.op === "store") stored.add(n.src[0] as Node);
  }
  const ordered = nest.attr.order.flatMap((id) => ranges.get(id) ?? []);
  const outer = ordered.filter((r) => !inner.has(r.attr.id));
  if (outer.some((r) => r.attr.extent === 0)) return undefined;
  const lane = [...ranges.values()].find((r) => r.attr.kind === "vector" && vectorWidths.has(r.attr.extent));
  const graph = new ValueGraph();
  const machine: Machine = { graph, width: lane?.attr.extent ?? 1, fused };
  const lowering = new Lowering(machine, lane, parameters, stored, graph.root);

  let at = lowering.root;
  for (const r of outer) if (isSerial(r, lane)) at = at.inner = newLoop(at, r);
  const side = outer.filter((r) => r !== lane && !isSerial(r, lane));
  for (const binding of bindings(side)) {
    lowering.beginInstance();
    const stores = nest.src.flatMap((s) => lowering.store(lowering.substitution.apply(s, binding), at));
    at.stores.push(stores);
  }
  return { graph, root: lowering.root };
}

/** An i32 scalar that only outer ranges change. */
export function lowerScalar(node: Node, parameters: Parameters): NestCode {
  const graph = new ValueGraph();
  const lowering = new Lowering({ graph, width: 1, fused: false }, undefined, parameters, new Set(), graph.root);
  const [value] = lowering.lower(node, lowering.root).parts;
  return { graph, root: lowering.root, value };
}

/** Whether a range is a loop at run time. */
const isSerial = (r: RangeNode, lane: RangeNode | undefined): boolean =>
  r !== lane && r.attr.extent > 1 && r.attr.kind !== "unroll" && r.attr.kind !== "vector";

function newLoop(parent: Loop | undefined, range: RangeNode | undefined, region = newRegion(parent?.region)): Loop {
  return { region, parent, range, groups: [], stores: [], inner: undefined, memo: new Map() };
}

/** All points of the ranges, the first range outermost. */
function bindings(ranges: readonly RangeNode[]): Binding[] {
  let all: Map<number, number>[] = [new Map()];
  for (const { attr } of ranges) {
    all = all.flatMap((b) => Array.from({ length: attr.extent }, (_, i) => new Map(b).set(attr.id, i)));
  }
  return all;
}

export class Lowering {
  readonly machine: Machine;
  readonly graph: ValueGraph;
  readonly root: Loop;
  readonly lane: RangeNode | undefined;
  readonly substitution: Substitution = substitution();
  readonly #parameters: Parameters;
  readonly #stored: ReadonlySet<Node>;
  readonly #laneBindings: readonly Binding[];
  readonly #pinned = new Map<Node, boolean>();
  readonly #stages = new Map<Node, number>();
  /** Values that read memory which the nest writes: made anew for each instance. */
  #instance = new Map<Node, Lanes>();

  constructor(
    machine: Machine,
    lane: RangeNode | undefined,
    parameters: Parameters,
    stored: ReadonlySet<Node>,
    region: Region,
  ) {
    this.machine = machine;
    this.graph = machine.graph;
    this.lane = lane;
    this.root = newLoop(undefined, undefined, region);
    this.#parameters = parameters;
    this.#stored = stored;
    this.#laneBindings = lane ? bindings([lane]) : [];
  }

  beginInstance(): void {
    this.#instance = new Map();
  }

  address(buffer: Node): Memory {
    const found = this.#parameters.addresses.get(buffer);
    if (!found) throw new VerifyError(`kernel: ${buffer.op} is not one of the kernel's buffers`);
    const { local, bytes, memory } = found;
    return { base: this.graph.param(local, "i32"), bytes, memory, pinned: this.#stored.has(buffer) };
  }

  /** Whether lanes differ in a node's value. */
  varies(node: Node): boolean {
    return this.lane !== undefined && this.substitution.dependences(node).has(this.lane.attr.id);
  }

  /** The node in each lane. */
  inLanes(node: Node): Node[] {
    return this.#laneBindings.map((b) => this.substitution.apply(node, b));
  }

  store(node: Node, at: Loop): readonly Store[] {
    return node.op === "store" ? storeLanes(this, node, at) : [];
  }

  /** The loop, `at` or around it, in which the node's value is known. */
  home(node: Node, at: Loop): Loop {
    const needed = this.substitution.dependences(node);
    let loop = at;
    while (loop.parent && !(loop.range && needed.has(loop.range.attr.id))) loop = loop.parent;
    return loop;
  }

  #readsStored(root: Node): boolean {
    const known = this.#pinned;
    for (const n of topological([root], (m) => !known.has(m))) {
      if (known.has(n)) continue;
      known.set(n, n.src.some((s) => known.get(s) ?? false) || (n.op === "load" && this.#stored.has(n.src[0] as Node)));
    }
    return known.get(root) ?? false;
  }

  #memo(node: Node, at: Loop): Map<Node, Lanes> {
    return this.#readsStored(node) ? this.#instance : this.home(node, at).memo;
  }

  /** The machine values of a node, as seen from the loop `at`. */
  lower(root: Node, at: Loop): Lanes {
    const done = this.#memo(root, at).get(root);
    if (done) return done;
    const order = topological([root], (n) => n.op !== "load" && n.op !== "accumulate" && !this.#memo(n, at).has(n));
    for (const n of order) {
      const memo = this.#memo(n, at);
      if (!memo.has(n)) memo.set(n, this.#compute(n, at));
    }
    return this.#memo(root, at).get(root) as Lanes;
  }

  #compute(n: Node, at: Loop): Lanes {
    const { graph } = this;
    switch (n.op) {
      case "const":
        return uniform(n.attr.dtype, constantOf(graph, n.attr.dtype, n.attr.value));
      case "param":
        return this.#scalar(n);
      case "range":
        return this.#range(n, at);
      case "load":
        return loadLanes(this, n, at);
      case "accumulate":
        return this.#accumulate(n, at);
      default: {
        const of = (s: Node): Lanes => this.#memo(s, at).get(s) as Lanes;
        const rounded = roundedBy(n);
        const value = rounded
          ? rulesOf(rounded.dtype).roundLanes(this.machine, of(rounded.x), rounded.dtype)
          : elementwise(this.machine, n, n.src.map(of));
        if (value) return value;
        throw new VerifyError(`wasm-simd: no rule for ${n.op} on ${dtypeOf(n.src[0] ?? n)}`, {
          hint: "expand or cast it before code is generated",
        });
      }
    }
  }

  #scalar(n: Node): Lanes {
    const found = this.#parameters.scalars.get(n);
    if (!found) throw new VerifyError(`kernel: parameter ${n.id} is used as a scalar, but is none`);
    const dtype = dtypeOf(n);
    const value = this.graph.param(found.local, found.type);
    if (dtype === "bool") return uniform(dtype, this.graph.op("i32.ne", [value, this.graph.i32(0)]));
    return uniform(dtype, castValue(this.graph, value, found.type, dtype));
  }

  #range(n: RangeNode, at: Loop): Lanes {
    const { graph } = this;
    if (n === this.lane)
      return pack(
        this.machine,
        "i32",
        this.#laneBindings.map((_, i) => graph.i32(i)),
      );
    if (n.attr.extent === 1) return uniform("i32", graph.i32(0));
    if (n.attr.kind === "outer") return uniform("i32", graph.outer(n.attr.id));
    const loop = this.home(n, at);
    if (loop.range !== n)
      throw new VerifyError(`kernel: range ${n.attr.id} is used outside of its loop`, {
        hint: "a nest's order lists its ranges",
      });
    return uniform("i32", graph.induction(loop.region, graph.i32(0), 1));
  }

  #stage(root: Node): number {
    const known = this.#stages;
    for (const n of topological([root], (m) => !known.has(m))) {
      if (known.has(n)) continue;
      const inner = n.src.reduce((most, s) => Math.max(most, known.get(s) ?? 0), 0);
      known.set(n, inner + (n.op === "accumulate" ? 1 : 0));
    }
    return known.get(root) ?? 0;
  }

  #group(home: Loop, stage: number, ranges: readonly RangeNode[]): Group {
    const key = ranges.map((r) => r.attr.id).join();
    const known = home.groups.find((g) => g.stage === stage && g.key === key);
    if (known) return known;
    const loops: Loop[] = [];
    for (const r of ranges) loops.push(newLoop(loops.at(-1) ?? home, r));
    const group: Group = { key, stage, loops, accumulators: [] };
    home.groups.push(group);
    return group;
  }

  #accumulate(n: NodeOf<"accumulate">, at: Loop): Lanes {
    const { kind } = n.attr;
    const dtype = dtypeOf(n);
    const value = n.src[0] as Node;
    const ranges = n.src.slice(1).filter((r): r is RangeNode => r.op === "range");
    const identity = uniform(dtype, constantOf(this.graph, dtype, identityOf(kind, dtype)));
    if (ranges.some((r) => r.attr.extent === 0)) return identity;
    const home = this.home(n, at);
    const serial = ranges.filter((r) => isSerial(r, this.lane));
    const group = serial.length === 0 ? undefined : this.#group(home, this.#stage(n), serial);
    const inside = group?.loops.at(-1) ?? home;
    const lanesReduced = this.lane !== undefined && ranges.includes(this.lane);
    const side = ranges.filter((r) => r !== this.lane && !isSerial(r, this.lane));
    const partials = bindings(side).map((binding) => {
      const step = this.#step(n.attr, this.substitution.apply(value, binding), inside, lanesReduced);
      const init = step.vector ? splat({ ...this.machine, width: step.width }, identity) : identity;
      if (!group) return step.finish(step.apply(init.parts));
      const locals = init.parts.map((first) => ({
        init: first,
        running: this.graph.accumulator(first.type, inside.region),
        result: this.graph.accumulator(first.type, home.region),
      }));
      step.apply(locals.map((l) => l.running)).forEach((update, i) => {
        group.accumulators.push({ ...(locals[i] as (typeof locals)[number]), update });
      });
      return step.finish(locals.map((l) => l.result));
    });
    return this.#total(kind, dtype, partials, ranges, lanesReduced);
  }

  /** How one partial result takes in one more value. */
  #step({ kind, product }: NodeOf<"accumulate">["attr"], value: Node, inside: Loop, lanesReduced: boolean) {
    const { machine, graph } = this;
    const dtype = dtypeOf(value);
    const shape = shapeOf(dtype);
    const fused =
      product === true && machine.fused && kind === "sum" && value.op === "mul" && (dtype === "f32" || dtype === "f64");
    if (fused) {
      const [a, b] = value.src.map((s) => this.lower(s, inside)) as [Lanes, Lanes];
      const isVector = a.vector || b.vector || lanesReduced;
      // A lone value goes through lane 0, so that it has the bits that it would have in a vector.
      const width = isVector ? machine.width : 1;
      const [x, y] = [splat({ ...machine, width }, a), splat({ ...machine, width }, b)];
      return {
        vector: true,
        width,
        apply: (running: readonly Value[]) =>
          running.map((r, i) =>
            graph.op(`${shape as "f32x4"}.relaxed_madd`, [x.parts[i] as Value, y.parts[i] as Value, r]),
          ),
        finish: (parts: readonly Value[]): Lanes =>
          isVector
            ? vector(dtype, parts)
            : uniform(dtype, graph.op(`${shape as "f32x4"}.extract_lane`, [parts[0] as Value], 0)),
      };
    }
    const lanes = this.lower(value, inside);
    const isVector = lanes.vector || lanesReduced;
    const apply = (running: readonly Value[]): readonly Value[] => {
      const sum = combine(
        machine,
        kind,
        isVector ? vector(dtype, running) : uniform(dtype, running[0] as Value),
        lanes,
      );
      if (!sum) throw new VerifyError(`wasm-simd: no rule for accumulate ${kind} on ${dtype}`);
      return sum.parts;
    };
    const finish = (parts: readonly Value[]): Lanes =>
      isVector ? vector(dtype, parts) : uniform(dtype, parts[0] as Value);
    return { vector: isVector, width: machine.width, apply, finish };
  }

  /** Partial results become one: while there are several, p takes p + ⌈n/2⌉ to itself, in the order of the ranges. */
  #total(
    kind: ReduceKind,
    dtype: DType,
    rows: readonly Lanes[],
    ranges: readonly RangeNode[],
    lanesReduced: boolean,
  ): Lanes {
    const { machine } = this;
    const join = (a: Lanes, b: Lanes): Lanes => combine(machine, kind, a, b) as Lanes;
    if (!lanesReduced) return halve(rows, join);
    const side = ranges.filter((r) => !isSerial(r, this.lane));
    let whole = rows;
    if (side.at(-1) === this.lane) {
      while (whole.length > 1 && whole.length % 2 === 0) {
        const half = whole.length / 2;
        whole = whole.slice(0, half).map((row, i) => join(row, whole[i + half] as Lanes));
      }
    }
    const inner = side.slice(side.indexOf(this.lane as RangeNode) + 1).reduce((c, r) => c * r.attr.extent, 1);
    const scalars: Lanes[] = [];
    const stride = side.at(-1) === this.lane ? 1 : inner;
    for (let block = 0; block < whole.length; block += stride)
      for (let lane = 0; lane < machine.width; lane++)
        for (let i = 0; i < stride; i++)
          scalars.push(uniform(dtype, extract(machine, whole[block + i] as Lanes, lane)));
    return halve(scalars, join);
  }
}

function halve(partials: readonly Lanes[], join: (a: Lanes, b: Lanes) => Lanes): Lanes {
  let left = partials;
  while (left.length > 1) {
    const half = Math.ceil(left.length / 2);
    const all = left;
    left = all.slice(0, half).map((x, p) => (p + half < all.length ? join(x, all[p + half] as Lanes) : x));
  }
  return left[0] as Lanes;
}

/** A constant of any dtype, as the bits that stand for it here. */
function constantOf(graph: ValueGraph, dtype: DType, value: number): Value {
  if (dtype === "f16" || dtype === "bf16") return castValue(graph, graph.f64(value), "f64", dtype);
  return constant(graph, dtype, value);
}
