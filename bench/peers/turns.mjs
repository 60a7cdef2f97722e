// A peer program that stays: it reads a case and how long to repeat it from each line of its input, and answers each by a line, so that
// its calls and ours go in turn. Asked by bench/src/called-peer.ts.
//   {"case": "exp", "seconds": 0.02} → {"times": [0.0004, …], "check": 1234.5}, or {"absent": "why"}
import { createInterface } from "node:readline";

/** Answers until the input ends. `prepare(case)` gives `run`, or `turn` that gives the seconds of each call itself, `check` (a number to
 *  compare with ours) and perhaps `dispose`; undefined, or a throw, where the peer lacks the case. */
export async function answerTurns({ name, version }, prepare) {
  const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
  say({ name, version });
  let now = { of: undefined };
  for await (const text of createInterface({ input: process.stdin })) {
    const { case: of, seconds } = JSON.parse(text);
    try {
      if (now.of !== of) {
        await now.bench?.dispose?.();
        now = { of };
        now.bench = await prepare(of);
        if (now.bench) now.check = await now.bench.check();
      }
      say(
        now.bench
          ? { times: await (now.bench.turn?.(seconds) ?? turnOf(now.bench.run, seconds)), check: now.check }
          : { absent: "not among its cases" },
      );
    } catch (error) {
      now.bench = undefined;
      say({ absent: String(error?.message ?? error).split("\n")[0] });
    }
  }
  process.exit(0);
}

/** Seconds of each call in so many of them; the first, which finds its data where others' calls have put it, counts where there is
 *  time for no other. */
async function turnOf(run, seconds) {
  const times = [];
  const end = performance.now() + seconds * 1000;
  do {
    const start = performance.now();
    await run();
    times.push((performance.now() - start) / 1000);
  } while (performance.now() < end);
  return times.length > 1 ? times.slice(1) : times;
}
