/** What a person sees of a run: three lines that are redrawn on a terminal, plain lines now and then elsewhere. */
import type { Report, ReportedEvent } from "../events.ts";
import { numberIn, textIn } from "./event.ts";
import { barOf, bytes, clock, grouped, painter, rateText, sparkLine } from "./figures.ts";
import { pacer } from "./pace.ts";
import { cellsOf, type Out, screen } from "./screen.ts";

/** How a run is shown. */
export interface TerminalOptions {
  /** Length of the whole run, if no `start` event tells. */
  readonly steps?: number;
  /** Lines that are redrawn. Default: if `out` is a terminal. */
  readonly live?: boolean;
  /** Default: as `live`, unless the environment has NO_COLOR. */
  readonly colour?: boolean;
  /** Between plain lines. Default 5000. */
  readonly everyMs?: number;
  readonly now?: () => number;
}

const redrawMs = 100;
/** The time that has passed goes on in long steps too. */
const tickMs = 1000;
const widestBar = 48;
const sparkCells = 32;

/** Shows a run on `out`: how far it is, how fast, what is left, the course of the loss. Evaluations, warnings and samples stay as
 *  lines of their own; the rest is gone when the run ends.
 *
 *  @example const report = terminalReport(process.stderr, { steps: 300 }); */
export function terminalReport(out: Out, options: TerminalOptions = {}): Report {
  const { live = out.isTTY === true, everyMs = 5000, now = () => performance.now() } = options;
  const paint = painter(options.colour ?? (live && !noColour()));
  const pace = pacer();
  const losses = course(sparkCells);
  let steps = options.steps;
  let drawnAt = Number.NEGATIVE_INFINITY;
  let stepAt = 0;
  let ticking: ReturnType<typeof setInterval> | undefined;
  let last: ReportedEvent | undefined;
  /** Steps since the last look, and when they came: what they mean is worked out for all of them at once. */
  let waiting: [ReportedEvent, number][] = [];
  let speed = { secondsPerStep: Number.NaN, tokensPerSecond: Number.NaN };
  let smooth = Number.NaN;
  let heldOut: { readonly step: number; readonly loss: number } | undefined;
  let process: string | undefined;

  const done = (): number => (last && numberIn(last, "step")) ?? 0;
  const count = (step: number): string =>
    steps === undefined ? `step ${step}` : `step ${String(step).padStart(String(steps).length)}/${steps}`;
  const eta = (): string => {
    const since = live ? (now() - stepAt) / 1000 : 0;
    const left = ((steps ?? Number.NaN) - done()) * speed.secondsPerStep;
    return clock(Number.isNaN(left) ? left : Math.max(0, left - Math.min(since, speed.secondsPerStep)));
  };
  const tokens = (): string => `${grouped(speed.tokensPerSecond)} tokens/s`;

  const take = (): void => {
    for (const [event, time] of waiting) {
      const loss = numberIn(event, "loss") ?? Number.NaN;
      losses.add(loss);
      smooth = Number.isNaN(smooth) ? loss : 0.9 * smooth + 0.1 * loss;
      const step = numberIn(event, "step") ?? 0;
      speed = pace.step(time, step, numberIn(event, "tokensPerSecond") ?? Number.NaN);
    }
    waiting = [];
  };
  const lines = (): string[] => {
    take();
    const columns = (out.columns ?? 80) - 1;
    const counts = count(done());
    const share = steps === undefined ? 0 : done() / steps;
    const end = `${String(Math.floor(share * 100)).padStart(3)} %  ETA ${eta()}`;
    const room = Math.min(widestBar, columns - counts.length - end.length - 3);
    const bar = room >= 8 && steps !== undefined ? `${barOf(share, room, paint)} ` : "";
    const first = `${paint.bold(counts)}  ${bar}${steps === undefined ? "" : end}`;
    const second = fitted(columns, [
      `loss ${paint.bold(smooth.toFixed(3))}`,
      paint.cyan(losses.spark()),
      heldOut && `${paint.green("held-out")} ${heldOut.loss.toFixed(3)} ${paint.dim(`at ${heldOut.step}`)}`,
    ]);
    const rate = last && numberIn(last, "rate");
    const norm = last && numberIn(last, "norm");
    const peak = last && numberIn(last, "peakBytes");
    const third = fitted(columns, [
      tokens(),
      rate === undefined ? undefined : `${paint.dim("rate")} ${rateText(rate)}`,
      norm === undefined ? undefined : `${paint.dim("norm")} ${norm.toFixed(2)}`,
      peak === undefined || peak === 0 ? undefined : `${paint.dim("tensors")} ${bytes(peak)}`,
      process,
    ]);
    return [first, second, third];
  };
  const area = screen(out, () => last && area.draw(lines()));
  const line = (text: string): void => {
    if (live) {
      area.above(text);
      if (last) area.draw(lines());
    } else out.write(`${text}\n`);
  };
  const stop = (): void => {
    clearInterval(ticking);
    ticking = undefined;
  };
  const tick = (): void => {
    ticking = setInterval(() => area.draw(lines()), tickMs);
    // A display keeps no program alive.
    (ticking as { unref?(): void }).unref?.();
  };
  const step = (event: ReportedEvent): void => {
    last = event;
    stepAt = now();
    waiting.push([event, stepAt]);
    if (stepAt - drawnAt < (live ? redrawMs : everyMs) && done() !== steps) return;
    drawnAt = stepAt;
    if (live) {
      area.draw(lines());
      if (ticking === undefined) tick();
      return;
    }
    take();
    const loss = (numberIn(event, "loss") ?? Number.NaN).toFixed(3);
    out.write(`${count(done())}  loss ${loss}  ${tokens()}  ETA ${eta()}\n`);
  };
  /** A bar while kernels are built; a line at the end of it elsewhere. */
  const build = (event: ReportedEvent): void => {
    const [built, of] = [numberIn(event, "done") ?? 0, numberIn(event, "of") ?? 0];
    const text = `building ${textIn(event, "what") ?? "kernels"}  ${built}/${of}`;
    if (live && built < of)
      area.draw([`${text}  ${barOf(of === 0 ? 0 : built / of, 24, paint)}`, ...(last ? lines() : [])]);
    else if (live && last) area.draw(lines());
    else if (!live && built === of) out.write(`${text}\n`);
  };
  return {
    event(event) {
      const at = numberIn(event, "step") ?? done();
      if (event.event !== "step" && event.event !== "memory") {
        take();
        pace.pause(now(), at);
      }
      switch (event.event) {
        case "start":
          steps ??= numberIn(event, "steps");
          return;
        case "step":
          return step(event);
        case "build":
          return build(event);
        case "eval": {
          const loss = numberIn(event, "loss") ?? Number.NaN;
          heldOut = { step: at, loss };
          const bits = numberIn(event, "bitsPerByte");
          const more = bits === undefined ? "" : `, ${bits.toFixed(3)} bits per byte`;
          return line(`${count(at)}  ${paint.green("held-out")} loss ${loss.toFixed(3)}${more}`);
        }
        case "memory": {
          const resident = numberIn(event, "process");
          process = resident === undefined ? undefined : `${paint.dim("process")} ${bytes(resident)}`;
          return;
        }
        case "sample":
          return line(`${count(at)}  ${paint.green("sample")} ${oneLine(event, (out.columns ?? 80) - 24)}`);
        case "warning":
        case "skip":
          return line(`${paint.yellow(event.event)}  ${textIn(event, "message") ?? `at step ${at}`}`);
        case "done":
          stop();
          return area.close();
        default:
      }
    },
    async close() {
      stop();
      area.close();
    },
  };
}

const oneLine = (event: ReportedEvent, cells: number): string =>
  `${textIn(event, "prompt") ?? ""}${textIn(event, "text") ?? ""}`
    .replaceAll(/\s+/g, " ")
    .slice(0, Math.max(20, cells));

/** As many parts as fit, from the left. */
function fitted(columns: number, parts: readonly (string | undefined)[]): string {
  const gap = "   ";
  const shown: string[] = [];
  let room = columns + gap.length;
  for (const part of parts) {
    if (part === undefined || part === "") continue;
    room -= cellsOf(part) + gap.length;
    if (room < 0) break;
    shown.push(part);
  }
  return shown.join(gap);
}

/** The course of a value over the whole run in so many cells at most: each the mean of as many values. */
function course(cells: number) {
  let means: number[] = [];
  let stride = 1;
  let sum = 0;
  let count = 0;
  /** Of the means, until there are more. */
  let text: string | undefined;
  const joined = (): number[] =>
    Array.from({ length: means.length >> 1 }, (_, i) => ((means[2 * i] ?? 0) + (means[2 * i + 1] ?? 0)) / 2);
  return {
    add(value: number): void {
      if (!Number.isFinite(value)) return;
      sum += value;
      if (++count < stride) return;
      text = undefined;
      means.push(sum / count);
      sum = count = 0;
      if (means.length < 2 * cells) return;
      means = joined();
      stride *= 2;
    },
    /** Neighbours are joined where there are more values than cells. */
    spark(): string {
      return (text ??= sparkLine(means.length <= cells ? means : joined()));
    },
  };
}

const environment = globalThis as {
  readonly process?: { readonly env?: Readonly<Record<string, string | undefined>> };
};
/** @see https://no-color.org */
const noColour = (): boolean => (environment.process?.env?.["NO_COLOR"] ?? "") !== "";
