/** Common operations and layers in ms, forward (`NAME`) and with the gradient of half the sum of squares by every float input
 *  (`NAME/grad`), beside PyTorch and the JavaScript peers, in turn; last the geometric means of our times and of the best of each kind. */
import { grad, jit, square, sum, type Tensor } from "sinan";
import { beside, type Figure } from "../figure.ts";
import type { Cases } from "../main.ts";
import { inTurn } from "../in-turn.ts";
import { type Pair, summary } from "../mean.ts";
import { inputsOf, operations, tensorsOf } from "../ops/cases.ts";
import { opsPeers } from "../peer-programs.ts";
import { openCpu } from "../processor.ts";

/** Of the seconds asked for, what each case takes of each of us: the whole then takes some two minutes. */
const share = 1 / 16;
/** The seconds in which all cases are to be done, for each second asked for; where the machine is busy, those that are left have fewer
 *  rounds. */
const mostOfAll = 90;

/** Of the sums of magnitudes that we and a peer find: f32 in other orders, other formulas of erf. */
const tolerance = 1e-3;

export const cases: Cases = async function* ({ threads, peers, seconds, quick }): AsyncGenerator<Figure> {
  const device = await openCpu(threads);
  const called = peers ? await opsPeers(threads, { inJavaScript: device === "cpu-wasm", isQuick: quick }) : [];
  const pairs: Pair[] = [];
  const end = performance.now() + 1000 * mostOfAll * seconds;
  let left = Object.values(inputsOf).reduce((sum, { forwardOnly }) => sum + (forwardOnly ? 1 : 2), 0);
  for (const [name, operation] of Object.entries(operations)) {
    const inputs = inputsOf[name];
    if (!inputs) throw new Error(`bench/peers/ops.json has no inputs for ${name}`);
    const { floats, whole } = tensorsOf(inputs);
    const forward = (...xs: readonly Tensor[]): Tensor[] => [operation(...xs, ...whole)];
    const backward = (...xs: readonly Tensor[]): Tensor[] => [
      ...grad((vs: readonly Tensor[]) => sum(square(operation(...vs, ...whole))).mul(0.5))(xs),
    ];
    for (const [of, f] of [
      [name, forward],
      [`${name}/grad`, backward],
    ] as const) {
      if (f === backward && inputs.forwardOnly) continue;
      const call = jit(f, { name: of });
      const check = await magnitudes(call(...floats));
      const run = async (): Promise<void> => {
        const results = call(...floats);
        await done(results[0] as Tensor);
        for (const r of results) r.dispose();
      };
      const mostSeconds = (end - performance.now()) / 1000 / left--;
      const { ours, theirs } = await inTurn(run, called, of, { seconds: seconds * share, threads, mostSeconds });
      const value = ours * 1e3;
      const inMs = theirs.map((peer) => ({ name: peer.name, version: peer.version, value: peer.value * 1e3 }));
      for (const peer of theirs)
        if (Math.abs(peer.check - check) > tolerance * check)
          console.error(
            `ops: ${of}: our results' magnitudes add up to ${check}, those of ${peer.name} to ${peer.check}`,
          );
      pairs.push({ name: of, ours: value, theirs: inMs });
      yield* beside({ bench: "ops", case: of, device, threads, value, unit: "ms" }, inMs);
    }
    for (const x of [...floats, ...whole]) x.dispose();
  }
  for (const peer of called) peer.close();
  const of = { bench: "ops", device, threads, unit: "ms" } as const;
  const only = (isTorch: boolean): Pair[] =>
    pairs.map((pair) => ({ ...pair, theirs: pair.theirs.filter(({ name }) => (name === "torch") === isTorch) }));
  yield* summary(of, only(false), { mean: "geometric-mean", best: "best" });
  yield* summary(of, only(true), { mean: "geometric-mean-torch", least: "least-torch", best: "best-torch" });
};

async function magnitudes(results: readonly Tensor[]): Promise<number> {
  let total = 0;
  for (const r of results) for (const v of await r.data()) total += Math.abs(Number(v));
  return total;
}

/** Waits until a result is there, as jax-js's blockUntilReady does: reading it would copy it. */
async function done(result: Tensor): Promise<void> {
  const buffer = result.buffer();
  if (typeof buffer !== "number") await buffer.stream.peek(buffer.place, [buffer]);
}
