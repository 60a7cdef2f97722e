/** `scan`: a body run over the rows of stacked inputs, handing a carry on and stacking what else it gives.
 *
 *    c₁, y₀ = f(w, c₀, x₀);  c₂, y₁ = f(w, c₁, x₁); …     →     cₙ, [y₀ … yₙ₋₁]
 *
 *  Backwards, a scan with what each step saved stacked runs the steps in the opposite order. Forwards, one scan carries values and
 *  tangents together and saves nothing. */
import { backward } from "../autodiff/backward.ts";
import { type Batch, mapFn } from "../autodiff/batch.ts";
import { forward } from "../autodiff/forward.ts";
import { bits, type Memo, once } from "../autodiff/memo.ts";
import { pulled, zeroOf } from "../autodiff/region.ts";
import { split } from "../autodiff/split.ts";
import { ShapeError, VerifyError } from "../errors.ts";
import { evaluate, type Evaluate } from "../interpreter/evaluate.ts";
import { newData, type Value } from "../interpreter/value.ts";
import { copy, instantiate } from "../ir/copy.ts";
import { dimText } from "../ir/dim.ts";
import { isFloat } from "../ir/dtype.ts";
import { type Fn, makeFn } from "../ir/fn.ts";
import { type Attrs, dimsOf, dtypeOf, type Node, tensorTypeOf } from "../ir/node.ts";
import { within } from "../ir/scope.ts";
import { type TensorType, tensorType, type Type, typeEqual, typeText } from "../ir/type.ts";
import { add, build, expand, item, permute, reshape } from "../ops/build.ts";
import type { Pull, Push } from "../ops/define.ts";
import { newScope } from "../ops/table.ts";
import { settledCarry } from "./reach.ts";

export const scan = (src: readonly Node[], attr: Attrs["scan"]): Node => build("scan", src, attr);

const float = (n: Node): boolean => isFloat(dtypeOf(n));
const stackedType = ({ dtype, dims }: TensorType, length: number): TensorType => tensorType(dtype, [length, ...dims]);

export function inferScan(src: readonly Node[], { fn, consts, carry, length }: Attrs["scan"]): Type {
  if (src.length !== fn.params.length || fn.results.length < carry)
    throw new VerifyError(`scan ${fn.name}: expected ${fn.params.length} sources, got ${src.length}`);
  fn.params.forEach((p, i) => {
    const want = i < consts + carry ? tensorTypeOf(p) : stackedType(tensorTypeOf(p), length);
    const { dtype, dims } = tensorTypeOf(src[i] as Node);
    if (!typeEqual(tensorType(want.dtype, want.dims), tensorType(dtype, dims)))
      throw new ShapeError(
        `scan ${fn.name}: source ${i} should be ${typeText(want)}, got ${typeText(tensorTypeOf(src[i] as Node))}`,
      );
  });
  fn.results.slice(0, carry).forEach((r, k) => {
    const want = tensorTypeOf(fn.params[consts + k] as Node);
    if (!typeEqual(r.type, want))
      throw new ShapeError(`scan ${fn.name}: the carry ${typeText(want)} comes back as ${typeText(r.type)}`);
  });
  return {
    tuple: fn.results.map((r, j) => (j < carry ? tensorTypeOf(r) : stackedType(tensorTypeOf(r), length))),
  };
}

export const evaluateScan: Evaluate<"scan"> = ({ attr, type }, src, exact) => {
  const { fn, consts, carry, length, reverse } = attr;
  let carried = src.slice(consts, consts + carry);
  const stacks = (type as { readonly tuple: readonly TensorType[] }).tuple
    .slice(carry)
    .map(({ dtype, dims }): Value => {
      const sizes = dims.map(Number);
      return {
        dtype,
        dims: sizes,
        data: newData(
          dtype,
          sizes.reduce((a, d) => a * d, 1),
        ),
      };
    });
  for (let t = 0; t < length; t++) {
    const row = reverse ? length - 1 - t : t;
    const rows = src.slice(consts + carry).map((v) => rowOf(v, row));
    const made = evaluate(fn, [...src.slice(0, consts), ...carried, ...rows], { exact });
    carried = made.slice(0, carry);
    stacks.forEach(({ data }, j) => {
      const own = (made[carry + j] as Value).data;
      (data as Float64Array).set(own as Float64Array, row * own.length);
    });
  }
  return [...carried, ...stacks];
};

function rowOf({ dtype, dims, data }: Value, row: number): Value {
  const size = dims.slice(1).reduce((a, d) => a * d, 1);
  return { dtype, dims: dims.slice(1), data: data.slice(row * size, (row + 1) * size) };
}

/** A body's parameters as they are told apart everywhere here. */
function groups<T>(all: readonly T[], { consts, carry }: Attrs["scan"]): [readonly T[], readonly T[], readonly T[]] {
  return [all.slice(0, consts), all.slice(consts, consts + carry), all.slice(consts + carry)];
}

interface Reversed {
  readonly forward: Fn;
  readonly residuals: number;
  readonly backward: Fn;
  /** Of the constants, the carry and the stacked inputs: which get a cotangent. */
  readonly flows: readonly [readonly boolean[], readonly boolean[], readonly boolean[]];
}

const reversed: Memo<Reversed> = new WeakMap();

/** Source cotangents. Each step's values that its derivative needs are stacked on the way; those of the constants are summed in the
 *  carry of the backward scan. */
export const pullScan: Pull<"scan"> = (y, cotangents, needed) => {
  const { attr } = y;
  const { fn, carry, length, reverse } = attr;
  const stackedPresent = cotangents.slice(carry).map(Boolean);
  while (stackedPresent.length < fn.results.length - carry) stackedPresent.push(false);
  const {
    forward: saving,
    residuals,
    backward: back,
    flows,
  } = once(reversed, fn, `${attr.consts} ${carry} ${bits(needed)} ${bits(stackedPresent)}`, () =>
    reverseBody(attr, needed, stackedPresent),
  );
  const [consts, initial, stacked] = groups(y.src, attr);
  const saved = scan(y.src, { ...attr, fn: saving });
  const kept = Array.from({ length: residuals }, (_, k) => item(saved, fn.results.length + k));
  const [constFlows, carryFlows, rowFlows] = flows;
  const moving = [
    ...initial.flatMap((c, k) => (carryFlows[k] ? [cotangents[k] ?? zeroOf(c)] : [])),
    ...consts.flatMap((c, k) => (constFlows[k] ? [zeroOf(c)] : [])),
  ];
  const given = cotangents.slice(carry).filter((g): g is Node => Boolean(g));
  const made = scan([...consts, ...moving, ...stacked, ...kept, ...given], {
    fn: back,
    consts: consts.length,
    carry: moving.length,
    length,
    reverse: !reverse,
  });
  let next = 0;
  const take = (flow: boolean): Node | null => (flow ? item(made, next++) : null);
  const ofCarry = carryFlows.map(take);
  const ofConsts = constFlows.map(take);
  return [...ofConsts, ...ofCarry, ...rowFlows.map(take)];
};

function reverseBody(attr: Attrs["scan"], needed: readonly boolean[], stackedPresent: readonly boolean[]): Reversed {
  const { fn, carry } = attr;
  const [constsNeeded, carryNeeded, rowsNeeded] = groups(needed, attr);
  const settled = settledCarry(fn, constsNeeded, carryNeeded, rowsNeeded);
  const want = [...constsNeeded, ...settled, ...rowsNeeded].map((n, i) => n && float(fn.params[i] as Node));
  const [, wantCarry] = groups(want, attr);
  const present = [...wantCarry, ...stackedPresent];
  const types = fn.results.filter((_, j) => present[j]).map((r) => r.type);
  const derive = (params: readonly Node[], results: readonly Node[], given: readonly Node[]) => {
    let next = 0;
    const cotangents = present.map((p) => (p ? (given[next++] as Node) : null));
    return pulled(results, cotangents, params, want, backward);
  };
  const isCarry = (i: number) => i >= attr.consts && i < attr.consts + carry;
  const halves = split(fn, types, derive, isCarry);
  const flowing = want.map((w, i) => w && (halves.flows[i] as number) >= 0);
  // What is carried keeps its cotangent even where one step lets none through.
  const flows = groups(flowing, attr);
  const [constFlows, , rowFlows] = flows;

  const scope = newScope();
  const back = within(scope, () => {
    let index = 0;
    const param = (type: Type): Node => scope.make("param", [], { index: index++, name: "", type }) as Node;
    const [consts, carried, rows] = groups(fn.params, attr);
    const constParams = consts.map((p) => param(p.type));
    const carryCotangents = carried.map((p, k) => (wantCarry[k] ? param(p.type) : null));
    const sums = consts.map((p, k) => (constFlows[k] ? param(p.type) : null));
    const rowParams = rows.map((p) => param(p.type));
    const residuals = halves.residuals.map((t) => param(t));
    const given = fn.results.slice(carry).map((r, j) => (stackedPresent[j] ? param(r.type) : null));
    const present = (n: Node | null): n is Node => n !== null;
    // The backward half reads carried values as residuals only.
    const unused = carried.map((p) => zeroOf(p as Node));
    const grads = instantiate(halves.backward, [
      ...constParams,
      ...unused,
      ...rowParams,
      ...residuals,
      ...carryCotangents.filter(present),
      ...given.filter(present),
    ]);
    const gradOf = (i: number): Node | null => {
      const at = halves.flows[i] as number;
      return at < 0 ? null : (grads[at] as Node);
    };
    const results = [
      ...carryCotangents.flatMap((c, k) => (c ? [gradOf(attr.consts + k) ?? zeroOf(c)] : [])),
      ...sums.flatMap((s, k) => (s ? [add(s, gradOf(k) as Node)] : [])),
      ...rows.flatMap((_, k) => (rowFlows[k] ? [gradOf(attr.consts + carry + k) as Node] : [])),
    ];
    const own = [...constParams, ...carryCotangents, ...sums, ...rowParams, ...residuals, ...given].filter(present);
    return makeFn(`${fn.name}.reverse`, own as Fn["params"][number][], results);
  });
  return {
    forward: halves.forward,
    residuals: halves.residuals.length,
    backward: back,
    flows: [constFlows, wantCarry, rowFlows],
  };
}

const jointBodies: Memo<Fn> = new WeakMap();

export const pushScan: Push<"scan"> = (y, tangents) => {
  const { attr } = y;
  const { fn, consts, carry } = attr;
  const [ofConsts, ofCarry, ofRows] = groups(tangents, attr).map((t) => t.map(Boolean)) as [
    boolean[],
    boolean[],
    boolean[],
  ];
  const moving = settledCarry(fn, ofConsts, ofCarry, ofRows).map((m, k) => m && float(fn.params[consts + k] as Node));
  const moves = [...ofConsts, ...moving, ...ofRows];
  const body = once(jointBodies, fn, `${consts} ${carry} ${bits(moves)}`, () => jointBody(attr, moves));
  const given = y.src.map((s, i) => (moves[i] ? (tangents[i] ?? zeroOf(s)) : null));
  const [a, b, c] = groups(y.src, attr);
  const [ta, tb, tc] = groups(given, attr).map((t) => t.filter((n) => n !== null)) as [Node[], Node[], Node[]];
  const both = scan([...a, ...ta, ...b, ...tb, ...c, ...tc], {
    ...attr,
    fn: body,
    consts: a.length + ta.length,
    carry: b.length + tb.length,
  });
  // The carry, its tangents, the stacks, their tangents.
  let next = 0;
  const values = b.map(() => item(both, next++));
  const pushed = moving.map((m) => (m ? item(both, next++) : null));
  const stacks = fn.results.slice(carry);
  const stackValues = stacks.map(() => item(both, next++));
  const stackTangents = stacks.map((r) => (float(r) ? item(both, next++) : null));
  return { results: [...values, ...stackValues], tangents: [...pushed, ...stackTangents] };
};

function jointBody(attr: Attrs["scan"], moves: readonly boolean[]): Fn {
  const { fn, carry } = attr;
  const scope = newScope();
  return within(scope, () => {
    let index = 0;
    const param = (p: Node): Node => scope.make("param", [], { index: index++, name: "", type: p.type }) as Node;
    const flags = groups(moves, attr);
    const pairs = groups(fn.params, attr).map((ps, g) => {
      const values = ps.map((p) => param(p as Node));
      const tangents = ps.map((p, k) => (flags[g]?.[k] ? param(p as Node) : null));
      return { values, tangents };
    });
    const values = pairs.flatMap((p) => p.values);
    const tangents = pairs.flatMap((p) => p.tangents);
    const results = copy(fn.results, new Map(fn.params.map((p, i) => [p as Node, values[i] as Node])));
    const moved = values.flatMap((v, i) => (tangents[i] ? [[v, tangents[i]] as const] : []));
    const pushed = forward(
      results,
      moved.map(([v]) => v),
      moved.map(([, t]) => t),
    );
    const tangentOf = (j: number): Node => pushed.tangents[j] ?? zeroOf(results[j] as Node);
    const [, carryMoves] = flags;
    const all = [
      ...pushed.roots.slice(0, carry),
      ...carryMoves.flatMap((m, k) => (m ? [tangentOf(k)] : [])),
      ...pushed.roots.slice(carry),
      ...results.flatMap((r, j) => (j >= carry && float(r) ? [tangentOf(j)] : [])),
    ];
    const params = pairs.flatMap((p) => [...p.values, ...p.tangents.filter((t) => t !== null)]);
    return makeFn(`${fn.name}.joint`, params as Fn["params"][number][], all);
  });
}

const mappedBodies: Memo<Fn> = new WeakMap();

export const batchScan: Batch<"scan"> = (y, { has, x, full, size }) => {
  const { attr } = y;
  const { fn, consts, carry } = attr;
  const [ofConsts, ofCarry, ofRows] = groups(has, attr);
  const mapped = settledCarry(fn, ofConsts, ofCarry, ofRows);
  const flags = [...ofConsts, ...mapped, ...ofRows];
  const body = once(mappedBodies, fn, `${consts} ${carry} ${bits(flags)} ${dimText(size)}`, () =>
    mapFn(
      fn,
      flags,
      size,
      fn.results.map((_, j) => j < carry && !mapped[j]),
    ),
  );
  const src = y.src.map((_, i) => {
    if (i < consts) return x(i);
    if (i < consts + carry) return mapped[i - consts] ? full(i) : x(i);
    // The rows stay in front.
    return has[i] ? swapped(x(i)) : x(i);
  });
  const made = scan(src, { ...attr, fn: body });
  const parts = fn.results.map((_, j) => {
    const own = item(made, j);
    if (j >= carry) return swapped(own);
    return mapped[j] ? own : expand(reshape(own, [1, ...dimsOf(own)]), [size, ...dimsOf(own)]);
  });
  return build("tuple", parts, {});
};

/** The first two axes exchanged. */
const swapped = (n: Node): Node =>
  permute(
    n,
    dimsOf(n).map((_, a) => (a < 2 ? 1 - a : a)),
  );
