/** Common operations and layers in ms, forward (`NAME`) and with the gradient of half the sum of squares by every float input
 *  (`NAME/grad`), beside the JavaScript peers; last the geometric means of our times and of the best peer's. */
import { device, grad, jit, square, sum, type Tensor } from "sinan";
import { beside, type Figure, type Peer } from "../figure.ts";
import type { Cases } from "../main.ts";
import { median, times } from "../measure.ts";
import { inputsOf, operations, tensorsOf } from "../ops/cases.ts";
import { ofCase, opsPeers, type PeerLine } from "../peers.ts";

/** Of the sums of magnitudes that we and a peer find: f32 in other orders, other formulas of erf. */
const tolerance = 1e-3;

export const cases: Cases = async function* ({ threads, peers, seconds }): AsyncGenerator<Figure> {
  await device("cpu", { options: { threads } });
  const each = seconds / 8;
  const measured = peers ? await opsPeers(each) : [];
  const pairs: (readonly [ours: number, theirs: number])[] = [];
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
      const best = Math.min(...theirs.map((peer) => peer.value));
      if (theirs.length > 0) pairs.push([value, best]);
      yield* beside({ bench: "ops", case: of, device: "cpu-wasm", threads, value, unit: "ms" }, theirs);
    }
  }
  if (pairs.length === 0) return;
  const best: Peer = { name: "best", version: "of each", value: geometricMean(pairs.map(([, theirs]) => theirs)) };
  const value = geometricMean(pairs.map(([ours]) => ours));
  const note = `${pairs.length} cases, ${pairs.filter(([ours, theirs]) => ours < theirs).length} faster than every peer`;
  const mean = { bench: "ops", case: "geometric-mean", device: "cpu-wasm", threads, value, unit: "ms", note } as const;
  yield* beside(mean, [best]);
};

const geometricMean = (values: readonly number[]): number =>
  Math.exp(values.reduce((total, v) => total + Math.log(v), 0) / values.length);

/** Says where a peer computes something else. */
async function compare(name: string, results: readonly Tensor[], lines: readonly PeerLine[]): Promise<void> {
  let total = 0;
  for (const r of results) for (const v of await r.data()) total += Math.abs(Number(v));
  for (const { case: of, name: peer, check } of lines)
    if (of === name && check !== undefined && Math.abs(check - total) > tolerance * total)
      console.error(`ops: ${name}: the magnitudes of our results add up to ${total}, ${peer}'s to ${check}`);
}
