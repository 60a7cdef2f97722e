/** Calls of ours and of peers in turn: some of each, round after round, so that whatever the machine does beside hits all alike; and
 *  bounded in time, however slow one of them is. */
import { setTimeout } from "node:timers/promises";
import type { CalledPeer, Turn } from "./called-peer.ts";
import type { Peer } from "./figure.ts";
import { median } from "./measure.ts";

/** Who has been asked less often goes on when its time is over. */
const atLeast = 3;
/** Threads of a pool that has nothing to do look for work for some milliseconds before they sleep. */
const restMs = 10;

export interface Timed {
  /** The median of our calls in seconds. */
  readonly ours: number;
  /** Of each peer that has the case the same, the best of those of one name and version. */
  readonly theirs: readonly (Peer & { readonly check: number })[];
}

/** @param seconds  for each of us, in so many rounds: where a round's part is less than a call takes, a turn is one call
 *  @param mostSeconds  of them all: when they are over, no other round begins */
export async function inTurn(
  ours: () => Promise<unknown>,
  peers: readonly CalledPeer[],
  of: string,
  {
    seconds,
    threads,
    rounds = 5,
    mostSeconds = Number.POSITIVE_INFINITY,
  }: { readonly seconds: number; readonly threads: number; readonly rounds?: number; readonly mostSeconds?: number },
): Promise<Timed> {
  const end = performance.now() + 1000 * mostSeconds;
  const all = [
    async (share: number): Promise<Turn> => ({ times: await turnOf(ours, share), check: Number.NaN }),
    ...peers.map((peer) => (share: number) => peer.turn(of, share)),
  ].map((turn) => ({ turn, times: [] as number[], check: Number.NaN, left: seconds, isDone: false }));
  for (let round = 0; round < rounds && (round === 0 || performance.now() < end); round++)
    for (const one of all) {
      if (one.isDone) continue;
      if (threads > 1) await setTimeout(restMs);
      const { times, check } = (await one.turn(seconds / rounds)) ?? { times: [], check: Number.NaN };
      one.times.push(...times);
      one.check = check;
      one.left -= times.reduce((a, b) => a + b, 0);
      one.isDone = times.length === 0 || (one.left <= 0 && one.times.length >= atLeast);
    }
  const [own, ...others] = all.map(({ times, check }) => ({
    value: times.length > 0 ? median(times) : undefined,
    check,
  }));
  const theirs = peers.flatMap(({ name, version }, i) => {
    const { value, check = Number.NaN } = others[i] ?? {};
    return value === undefined ? [] : [{ name, version, value, check }];
  });
  return { ours: own?.value ?? Number.NaN, theirs: leastOfEach(theirs) };
}

/** The most memory in MB that the process of each peer held which knows the case `peak`, the least of those of one name and version. */
export async function peaks(peers: readonly CalledPeer[]): Promise<Peer[]> {
  const all: Peer[] = [];
  for (const peer of peers) {
    const { name, version } = peer;
    const value = (await peer.turn("peak", 0))?.check;
    if (value !== undefined) all.push({ name, version, value });
  }
  return leastOfEach(all);
}

function leastOfEach<P extends Peer>(all: readonly P[]): P[] {
  const least = new Map<string, P>();
  for (const peer of all) {
    const id = `${peer.name} ${peer.version}`;
    if (peer.value < (least.get(id)?.value ?? Number.POSITIVE_INFINITY)) least.set(id, peer);
  }
  return [...least.values()];
}

/** As bench/peers/turns.mjs has it. */
async function turnOf(run: () => Promise<unknown>, seconds: number): Promise<number[]> {
  const times: number[] = [];
  const end = performance.now() + seconds * 1000;
  do {
    const start = performance.now();
    await run();
    times.push((performance.now() - start) / 1000);
  } while (performance.now() < end);
  return times.length > 1 ? times.slice(1) : times;
}
