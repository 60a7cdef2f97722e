/** What a person sees of a run: one line that is redrawn on a terminal, plain lines now and then elsewhere, or JSON lines
 *  for a program. */
import type { TrainEvent } from "./events.ts";

/** Where text goes: `process.stderr` is one. */
export interface Out {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export interface ProgressOptions {
  /** Length of the whole run. */
  readonly steps: number;
  /** Colours, and the line that is redrawn. Default: if `out` is a terminal. */
  readonly live?: boolean;
  /** Default: as `live`, unless the environment has NO_COLOR. */
  readonly colour?: boolean;
  /** Between plain lines. Default 5000. */
  readonly everyMs?: number;
  readonly now?: () => number;
}

export interface Progress {
  (event: TrainEvent): void;
  /** Takes the redrawn line away. */
  end(): void;
}

const barWidth = 24;
const redrawMs = 80;

/** Shows events on `out`. */
export function progress(out: Out, options: ProgressOptions): Progress {
  const { steps, live = out.isTTY === true, everyMs = 5000, now = () => performance.now() } = options;
  const paint = painter(options.colour ?? (live && !noColour()));
  const pace = pacer();
  let drawnAt = Number.NEGATIVE_INFINITY;
  let drawn = false;

  const clear = (): void => {
    if (drawn) out.write("\r\u001b[2K");
    drawn = false;
  };
  const line = (text: string): void => {
    clear();
    out.write(`${text}\n`);
    drawnAt = live ? Number.NEGATIVE_INFINITY : drawnAt;
  };
  const show = (event: TrainEvent): void => {
    const width = String(steps).length;
    switch (event.event) {
      case "step": {
        const { secondsPerStep, tokensPerSecond } = pace.step(now(), event.step, event.tokensPerSecond);
        const last = event.step === steps;
        if (now() - drawnAt < (live ? redrawMs : everyMs) && !last) return;
        drawnAt = now();
        const share = event.step / steps;
        const figures = `loss ${event.loss.toFixed(3)}  ${grouped(tokensPerSecond)} tokens/s  ETA ${clock((steps - event.step) * secondsPerStep)}`;
        if (!live) {
          out.write(`step ${String(event.step).padStart(width)}/${steps}  ${figures}\n`);
          return;
        }
        const counts = `step ${String(event.step).padStart(width)}/${steps}`;
        const columns = out.columns ?? 80;
        const room = columns - counts.length - figures.length - 5;
        const bar = room >= 8 ? `${barOf(share, Math.min(barWidth, room), paint)}  ` : undefined;
        const line = bar === undefined ? `${counts}  ${figures}`.slice(0, columns - 1) : `${counts}  ${bar}${figures}`;
        out.write(`\r\u001b[2K${line}`);
        drawn = true;
        return;
      }
      case "eval": {
        pace.pause(now(), event.step);
        const bits = event.bitsPerByte === undefined ? "" : `, ${event.bitsPerByte.toFixed(3)} bits per byte`;
        line(
          `step ${String(event.step).padStart(width)}/${steps}  ${paint.green("held-out")} loss ${event.loss.toFixed(3)}${bits}`,
        );
        return;
      }
      case "checkpoint":
        pace.pause(now(), event.step);
        return;
      case "warning":
        line(`step ${String(event.step).padStart(width)}/${steps}  ${event.message}`);
        return;
      case "sample":
        pace.pause(now(), event.step);
        return;
      default:
        event satisfies never;
    }
  };
  return Object.assign(show, { end: clear });
}

/** The line of an event for programs; undefined for events that are not told to them. */
export function jsonLine(event: TrainEvent): string | undefined {
  switch (event.event) {
    case "step": {
      const { step, loss, tokensPerSecond } = event;
      return JSON.stringify({ event: "step", step, loss, tokensPerSecond: Math.round(tokensPerSecond) });
    }
    case "eval":
      return JSON.stringify(event);
    case "checkpoint":
      return undefined;
    case "warning":
    case "sample":
      return JSON.stringify(event);
    default:
      return event satisfies never;
  }
}

/** Seconds a step and tokens a second, smoothed. The first step, which compiles, does not count, nor does what comes between
 *  two steps. */
function pacer() {
  const keep = 0.9;
  let before: { time: number; step: number } | undefined;
  let secondsPerStep = Number.NaN;
  let tokensPerSecond = Number.NaN;
  const mixed = (old: number, now: number): number => (Number.isNaN(old) ? now : keep * old + (1 - keep) * now);
  return {
    step(time: number, step: number, tokens: number): { secondsPerStep: number; tokensPerSecond: number } {
      if (before && step > before.step) {
        secondsPerStep = mixed(secondsPerStep, (time - before.time) / 1000 / (step - before.step));
        tokensPerSecond = mixed(tokensPerSecond, tokens);
      }
      before = { time, step };
      return { secondsPerStep, tokensPerSecond: Number.isNaN(tokensPerSecond) ? tokens : tokensPerSecond };
    },
    pause(time: number, step: number): void {
      if (before) before = { time, step };
    },
  };
}

const eighths = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

function barOf(share: number, width: number, paint: Painter): string {
  const cells = Math.round(Math.min(1, Math.max(0, share)) * width * 8);
  const full = "█".repeat(Math.floor(cells / 8)) + (eighths[cells % 8] ?? "");
  return paint.cyan(full) + paint.dim("·".repeat(width - Math.ceil(cells / 8)));
}

/** `1:05`, `2:00:07`; dashes while it is not known. */
function clock(seconds: number): string {
  if (!Number.isFinite(seconds)) return "-:--";
  const whole = Math.round(seconds);
  const two = (n: number): string => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** `12,345`. */
export const grouped = (n: number): string => String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, ",");

interface Painter {
  readonly cyan: (text: string) => string;
  readonly green: (text: string) => string;
  readonly dim: (text: string) => string;
  readonly bold: (text: string) => string;
}

/** Wraps text in ANSI colours, or leaves it as it is. */
export function painter(on: boolean): Painter {
  const sgr = (open: number, close: number) => (text: string) =>
    on && text !== "" ? `\u001b[${open}m${text}\u001b[${close}m` : text;
  return { cyan: sgr(36, 39), green: sgr(32, 39), dim: sgr(2, 22), bold: sgr(1, 22) };
}

const host = globalThis as { readonly process?: { readonly env?: Readonly<Record<string, string | undefined>> } };
/** @see https://no-color.org */
const noColour = (): boolean => (host.process?.env?.["NO_COLOR"] ?? "") !== "";
