/** Common operations and layers in ms, forward (`NAME`) and with the gradient of half the sum of squares by every float input
 *  (`NAME/grad`), beside PyTorch and the JavaScript peers; last the geometric means of our times and of the best of each kind. */
import { grad, jit, square, sum, type Tensor } from "sinan";
import { beside, type Figure } from "../figure.ts";
import type { Cases } from "../main.ts";
import { type Pair, summary } from "../mean.ts";
import { median, times } from "../measure.ts";
import { inputsOf, operations, tensorsOf } from "../ops/cases.ts";
import { opsPeers } from "../peer-programs.ts";
import { ofCase, type PeerLine } from "../peers.ts";
import { openCpu } from "../processor.ts";

/** Of the sums of magnitudes that we and a peer find: f32 in other orders, other formulas of erf. */
const tolerance = 1e-3;

export const cases: Cases = async function* ({ threads, peers, seconds, quick }): AsyncGenerator<Figure> {
  const device = await openCpu(threads);
  const each = seconds / 8;
  const measured = peers
    ? await opsPeers(threads, { inJavaScript: device === "cpu-wasm", seconds: each, isQuick: quick })
    : [];
  const pairs: Pair[] = [];
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
      await compare(of, call(...floats), measured);
      const run = async (): Promise<void> => {
        const results = call(...floats);
        const flat = (results[0] as Tensor).reshape([-1]);
        await flat.at(0).item();
        for (const r of [flat, ...results]) r.dispose();
      };
      const value = median(await times(run, { seconds: each, atLeast: 3 })) * 1e3;
      const theirs = ofCase(measured, of);
      pairs.push({ name: of, ours: value, theirs });
      yield* beside({ bench: "ops", case: of, device, threads, value, unit: "ms" }, theirs);
    }
  }
  const of = { bench: "ops", device, threads, unit: "ms" } as const;
  const only = (isTorch: boolean): Pair[] =>
    pairs.map((pair) => ({ ...pair, theirs: pair.theirs.filter(({ name }) => (name === "torch") === isTorch) }));
  yield* summary(of, only(false), { mean: "geometric-mean", best: "best" });
  yield* summary(of, only(true), { mean: "geometric-mean-torch", least: "least-torch", best: "best-torch" });
};

/** Says where a peer computes something else. */
async function compare(name: string, results: readonly Tensor[], lines: readonly PeerLine[]): Promise<void> {
  let total = 0;
  for (const r of results) for (const v of await r.data()) total += Math.abs(Number(v));
  for (const { case: of, name: peer, check } of lines)
    if (of === name && check !== undefined && Math.abs(check - total) > tolerance * total)
      console.error(`ops: ${name}: the magnitudes of our results add up to ${total}, ${peer}'s to ${check}`);
}
