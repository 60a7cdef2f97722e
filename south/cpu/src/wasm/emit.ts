/** Writes the loops and values of a nest as instructions. A value that is read once, in the loop it belongs to, is written
 *  where it is read; the others are kept in locals, made before the loop that reads them or at their first use. */

import type { FunctionBody } from "./body.ts";
import type { Accumulator, Group, Loop, NestCode } from "./nest.ts";
import { opcodes, type OpName } from "./opcodes.ts";
import type { Store } from "./memory.ts";
import { columnRules, sideRules } from "./rules.ts";
import { countUses } from "./uses.ts";
import type { Region, Side, Value } from "./value.ts";

/** Iterations whose columns are read together. */
export const block = 4;

/** Locals that say which iterations of the parallel loop to run: at least one. */
export interface Share {
  readonly begin: number;
  readonly end: number;
}

/** The locals that hold the numbers of iterations of the loops around a nest, by the id of their range. */
export type Outers = ReadonlyMap<number, number>;

/** @param share  without it, the parallel loop runs whole */
export function emitNest(
  body: FunctionBody,
  { graph, root, value }: NestCode,
  callees: ReadonlyMap<string, number>,
  outers: Outers,
  share?: Share,
): void {
  for (const [id, outer] of graph.outers) outer.local = outers.get(id);
  countUses(root, value);
  new Emitter(body, callees, share).root(root, value);
}

/** Whether an induction is the loop's own counter. */
const isCount = ({ args: [init], immediates }: Value): boolean =>
  init?.kind === "const" && init.constant === 0 && immediates[0] === 1;

/** How often the body of a reduction is written: small bodies pay for the pointers and the branch of each round. */
const copiesOf = (accumulators: number): number => (accumulators <= 16 ? 4 : 2);

/** Whether an innermost output loop reads rows that are to be turned. Threads share loops by single iterations. */
const goesAlongRows = (loop: Loop): boolean =>
  !loop.inner &&
  loop.groups.length === 0 &&
  loop.range?.attr.kind !== "parallel" &&
  columnRules()?.areRead(loop) === true;

interface Untyped {
  op(name: OpName, ...immediates: readonly (number | readonly number[])[]): void;
}

class Emitter {
  readonly #body: FunctionBody;
  /** The same body, for instructions whose immediates are only known here. */
  readonly #untyped: Untyped;
  readonly #callees: ReadonlyMap<string, number>;
  readonly #share: Share | undefined;
  /** Values whose locals are given back when the current loop's body ends. */
  #held: Value[] = [];
  /** While a copy of an unrolled loop's body is written: the loop, and by how many iterations its pointers are behind. */
  #copy: { readonly region: Region; readonly ahead: number } | undefined;
  /** While a round of four copies is written: the loop, and the columns that its rows were turned into. */
  #turned: { readonly region: Region; readonly columns: Map<Value, readonly number[]> } | undefined;
  /** The side that is being written. */
  #side: Side | undefined;

  constructor(body: FunctionBody, callees: ReadonlyMap<string, number>, share: Share | undefined) {
    this.#share = share;
    this.#body = body;
    this.#untyped = body;
    this.#callees = callees;
  }

  /** The code of a nest, or a value that stays on the stack. */
  root(loop: Loop, value: Value | undefined): void {
    this.#within(() => (value ? this.#push(value) : this.#inside(loop)));
  }

  #within(emit: () => void): void {
    const outer = this.#held;
    this.#held = [];
    emit();
    for (const v of this.#held) {
      this.#body.release(v.local as number);
      v.local = undefined;
    }
    this.#held = outer;
  }

  /** What stands in the body of an output loop. */
  #inside(loop: Loop): void {
    for (const group of loop.groups.toSorted((a, b) => a.stage - b.stage)) this.#group(group);
    const { inner } = loop;
    if (inner) this.#loop(inner, () => this.#inside(inner), goesAlongRows(inner) ? block : 1);
    for (const instance of loop.stores) this.#stores(instance);
  }

  #group({ loops, accumulators }: Group): void {
    for (const { init, running, result } of accumulators) {
      this.#push(init);
      running.local = result.local = this.#body.local(running.type);
      this.#held.push(result);
      this.#body.set(result.local);
    }
    this.#reduction(loops, 0, accumulators);
  }

  #reduction(loops: readonly Loop[], depth: number, accumulators: readonly Accumulator[]): void {
    const loop = loops[depth];
    if (!loop) return this.#updates(accumulators);
    const isInnermost = depth + 1 === loops.length && loop.groups.length === 0;
    this.#loop(
      loop,
      () => {
        for (const group of loop.groups.toSorted((a, b) => a.stage - b.stage)) this.#group(group);
        this.#reduction(loops, depth + 1, accumulators);
      },
      isInnermost ? copiesOf(accumulators.length) : 1,
    );
  }

  #updates(accumulators: readonly Accumulator[]): void {
    for (const { update, running } of accumulators) {
      this.#push(update);
      this.#body.set(running.local as number);
    }
  }

  /** A loop, its body written `copies` times; what the copies leave of the iterations stands behind it. */
  #loop({ region, range }: Loop, inside: () => void, copies = 1): void {
    const body = this.#body;
    const extent = range?.attr.extent ?? 1;
    const rounds = Math.floor(extent / copies);
    const share = range?.attr.kind === "parallel" ? this.#share : undefined;
    for (const v of [...region.needs].sort((a, b) => a.id - b.id)) this.#ready(v);
    const live = region.inductions.filter((v) => v.uses > 0).sort((a, b) => Number(isCount(a)) - Number(isCount(b)));
    for (const v of live) {
      this.#push(v.args[0] as Value);
      if (share) this.#advance(share.begin, v.immediates[0] as number);
      v.local = body.local("i32");
      body.set(v.local);
    }
    const bodies = (count: number): void => {
      for (let ahead = 0; ahead < count; ahead++) {
        this.#copy = ahead > 0 ? { region, ahead } : undefined;
        this.#within(inside);
      }
      this.#copy = undefined;
    };
    if (rounds > 1 || share)
      this.#rounds(live, rounds, copies, share, () => {
        this.#turned = copies === block ? { region, columns: new Map() } : undefined;
        bodies(copies);
        for (const columns of this.#turned?.columns.values() ?? []) body.release(...columns);
        this.#turned = undefined;
      });
    bodies(rounds > 1 || share ? extent - rounds * copies : extent);
    body.release(...live.map((v) => v.local as number));
    for (const v of live) v.local = undefined;
  }

  /** Adds `step` times the local to what is on the stack. */
  #advance(local: number, step: number): void {
    const body = this.#body;
    body.get(local);
    body.i32(step);
    body.op("i32.mul");
    body.op("i32.add");
  }

  #rounds(live: readonly Value[], rounds: number, copies: number, share: Share | undefined, inside: () => void): void {
    const body = this.#body;
    const counting = live.find(isCount);
    const counter = counting ? undefined : body.local("i32");
    if (counter !== undefined) {
      if (share) {
        body.get(share.end);
        body.get(share.begin);
        body.op("i32.sub");
      } else body.i32(rounds);
      body.set(counter);
    }
    const again = body.loop();
    inside();
    for (const v of live) {
      body.get(v.local as number);
      body.i32((v.immediates[0] as number) * copies);
      body.op("i32.add");
      if (v !== counting) body.set(v.local as number);
      else {
        body.tee(v.local as number);
        if (share) body.get(share.end);
        else body.i32(rounds * copies);
        body.op("i32.lt_u");
      }
    }
    if (counter !== undefined) {
      body.get(counter);
      body.i32(1);
      body.op("i32.sub");
      body.tee(counter);
    }
    body.brIf(again);
    body.end();
    if (counter !== undefined) body.release(counter);
  }

  #stores(instance: readonly Store[]): void {
    const body = this.#body;
    // All values before any store: a result may lie over the memory of an input that another value reads here.
    const held = new Map<Value, number>();
    const several = new Set(instance.map(({ value }) => value)).size > 1;
    for (const { value } of instance) {
      if (value.kept) this.#ready(value);
      else if (several && !held.has(value)) {
        this.#push(value);
        const local = body.local(value.type);
        body.set(local);
        held.set(value, local);
      }
    }
    for (const store of instance) {
      if (store.mask) {
        this.#ready(store.address);
        this.#push(store.mask);
        body.if();
      }
      this.#push(store.address);
      const local = held.get(store.value);
      if (local === undefined) this.#push(store.value);
      else body.get(local);
      const place = store.memory === 0 ? [store.offset] : [store.offset, opcodes[store.op].size, store.memory];
      if (store.lane === undefined) this.#untyped.op(store.op, ...place);
      else this.#untyped.op(store.op, store.lane, ...place);
      if (store.mask) body.end();
    }
    body.release(...held.values());
  }

  /** Makes the kept values below one, inner ones first, and the value itself if it is kept. */
  #ready(root: Value): void {
    const stack: [Value, boolean][] = [[root, false]];
    for (let next = stack.pop(); next; next = stack.pop()) {
      const [v, entered] = next;
      if (v.local !== undefined || v.kind === "accumulator") continue;
      if (v.side && v.side !== this.#side) {
        const outer = this.#side;
        this.#side = v.side;
        sideRules()?.emit(this.#body, v.side, (of) => this.#ready(of));
        this.#side = outer;
        continue;
      }
      if (entered) {
        if (!v.kept) continue;
        this.#instruction(v);
        v.local = this.#body.local(v.type);
        this.#held.push(v);
        this.#body.set(v.local);
        continue;
      }
      stack.push([v, true]);
      for (let i = v.args.length - 1; i >= 0; i--) stack.push([v.args[i] as Value, false]);
    }
  }

  /** Puts a value on the stack. */
  #push(v: Value): void {
    this.#ready(v);
    this.#read(v);
  }

  #read(v: Value): void {
    if (v.local === undefined) return this.#instruction(v);
    this.#body.get(v.local);
    const behind = this.#behind(v);
    if (behind === 0) return;
    this.#body.i32(behind);
    this.#body.op("i32.add");
  }

  /** What the local of a pointer lacks in this copy of the loop's body. */
  #behind(v: Value | undefined): number {
    const copy = this.#copy;
    return copy && v?.kind === "induction" && v.region === copy.region ? copy.ahead * (v.immediates[0] as number) : 0;
  }

  /** A column of rows that this loop goes along. */
  #column(v: Value): number | undefined {
    const turned = this.#turned;
    if (!turned || v.op !== "v128.load32_lane") return undefined;
    const columns = turned.columns.get(v) ?? columnRules()?.emit(this.#body, v, turned.region);
    if (!columns) return undefined;
    turned.columns.set(v, columns);
    return columns[this.#copy?.ahead ?? 0];
  }

  #instruction(v: Value): void {
    const body = this.#body;
    const column = this.#column(v);
    if (column !== undefined) return body.get(column);
    const [pointer] = v.args;
    const behind = this.#behind(pointer);
    if (behind > 0 && pointer && v.op && opcodes[v.op].immediate === "memory") {
      body.get(pointer.local as number);
      const [offset, ...place] = v.immediates;
      return this.#untyped.op(v.op, (offset as number) + behind, ...place);
    }
    for (const a of v.args) this.#read(a);
    switch (v.kind) {
      case "const":
        return this.#constant(v);
      case "op":
        return this.#untyped.op(v.op as OpName, ...v.immediates);
      case "select":
        return body.select();
      case "call":
        return body.call(this.#callees.get(v.callee ?? "") as number);
      case "param":
      case "induction":
      case "accumulator":
        throw new TypeError(`emit: a ${v.kind} is read before it has a local`);
      default:
        return v.kind satisfies never;
    }
  }

  #constant({ type, constant }: Value): void {
    switch (type) {
      case "i32":
        return this.#body.i32(constant as number);
      case "i64":
        return this.#body.i64(constant as bigint);
      case "f32":
        return this.#body.f32(constant as number);
      case "f64":
        return this.#body.f64(constant as number);
      case "v128":
        return this.#body.v128(constant as readonly number[]);
      default:
        return type satisfies never;
    }
  }
}
