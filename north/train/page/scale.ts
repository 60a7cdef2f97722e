/** Axes: where ticks stand, what numbers look like, and how a value becomes a place. */

export interface Scale {
  readonly low: number;
  readonly high: number;
  readonly ticks: readonly number[];
  /** 0 at `low`, 1 at `high`. */
  share(value: number): number;
}

/** Round steps of 1, 2 or 5 times a power of ten, about `count` of them; the range is left as it is. */
export function linear(low: number, high: number, count: number): Scale {
  const [least, most] = high > low ? [low, high] : [low - (Math.abs(low) || 1) / 10, low + (Math.abs(low) || 1) / 10];
  const raw = (most - least) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  return stepped(least, most, ([1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999) ?? 10) * power);
}

/** Seconds, in steps that a clock has. */
export function clocklike(low: number, high: number, count: number): Scale {
  const steps = [10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400];
  const step = steps.find((step) => step >= (high - low) / count);
  return high - low < 60 || step === undefined ? linear(low, high, count) : stepped(low, high, step);
}

function stepped(least: number, most: number, step: number): Scale {
  const ticks: number[] = [];
  for (let n = Math.ceil(least / step - 1e-9); n * step <= most + step * 1e-9; n++)
    ticks.push(Number((n * step).toPrecision(12)));
  return { low: least, high: most, ticks, share: (value) => (value - least) / (most - least) };
}

/** Powers of ten, with 2 and 5 between them where there is room. */
export function logarithmic(low: number, high: number, count: number): Scale {
  const least = Math.log10(low);
  const most = Math.max(Math.log10(high), least + 0.05);
  const factors = most - least < 1.2 ? [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9] : most - least < 3 ? [1, 2, 5] : [1];
  const every = factors.length === 1 ? Math.max(1, Math.ceil((most - least) / count)) : 1;
  const ticks: number[] = [];
  for (let power = Math.floor(least); power <= most; power++) {
    if (power % every !== 0) continue;
    for (const factor of factors) {
      const value = Number((factor * 10 ** power).toPrecision(3));
      if (Math.log10(value) >= least - 1e-9 && Math.log10(value) <= most + 1e-9) ticks.push(value);
    }
  }
  const share = (value: number): number => (Math.log10(value) - least) / (most - least);
  return { low, high: 10 ** most, ticks: ticks.length >= 2 ? ticks : linear(low, 10 ** most, count).ticks, share };
}

/** A range with a little air at both ends. */
export function airy(low: number, high: number, isLog: boolean): [number, number] {
  if (!isLog) {
    const air = (high - low) * 0.06;
    return [low >= 0 && low - air < 0 ? 0 : low - air, high + air];
  }
  const air = (high / low) ** 0.06;
  return [low / air, high * air];
}

export type Format = (value: number) => string;

const trimmed = (text: string): string => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);

/** Up to five digits: `0.0123`, `3.2145`, `12,345`, `4.2e-5`. */
export const plain: Format = (value) => {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e9) {
    const [digits = "", power = ""] = value.toExponential(2).split("e");
    return `${trimmed(digits)}e${power.replace("+", "")}`;
  }
  if (size >= 1e4) return Math.round(value).toLocaleString("en-US");
  return trimmed(value.toPrecision(size >= 1000 ? 4 : 5).replace(/(\.\d{4})\d+$/, "$1"));
};

/** For ticks and tiles: `15k`, `2.5M`. */
export const short: Format = (value) => {
  const size = Math.abs(value);
  for (const [unit, letter] of [
    [1e12, "T"],
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ] as const)
    if (size >= unit * (unit === 1e3 ? 10 : 1)) return `${trimmed((value / unit).toPrecision(4))}${letter}`;
  return plain(value);
};

/** `555 MB` */
export const bytes: Format = (value) => {
  for (const [unit, name] of [
    [1e12, "TB"],
    [1e9, "GB"],
    [1e6, "MB"],
    [1e3, "kB"],
  ] as const)
    if (Math.abs(value) >= unit) return `${trimmed((value / unit).toPrecision(3))} ${name}`;
  return `${Math.round(value)} B`;
};

/** `42 s`, `3:05`, `2:05:09` */
export const duration: Format = (seconds) => {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole < 10 ? trimmed(seconds.toFixed(1)) : whole} s`;
  const two = (n: number): string => String(n).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
};
