/** How fast a run goes: seconds a step and tokens a second, smoothed. The first step, which compiles, does not count, nor does
 *  what comes between two steps. */

export interface Pace {
  step(time: number, step: number, tokensPerSecond: number): { secondsPerStep: number; tokensPerSecond: number };
  pause(time: number, step: number): void;
}

/** Times are in milliseconds. */
export function pacer(): Pace {
  const keep = 0.9;
  let before: { time: number; step: number } | undefined;
  let secondsPerStep = Number.NaN;
  let tokensPerSecond = Number.NaN;
  const mixed = (old: number, now: number): number => (Number.isNaN(old) ? now : keep * old + (1 - keep) * now);
  return {
    step(time, step, tokens) {
      if (before && step > before.step) {
        secondsPerStep = mixed(secondsPerStep, (time - before.time) / 1000 / (step - before.step));
        tokensPerSecond = mixed(tokensPerSecond, tokens);
      }
      before = { time, step };
      return { secondsPerStep, tokensPerSecond: Number.isNaN(tokensPerSecond) ? tokens : tokensPerSecond };
    },
    pause(time, step) {
      if (before) before = { time, step };
    },
  };
}
