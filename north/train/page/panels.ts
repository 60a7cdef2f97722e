/** What is not a chart: the head of a run with its figures, samples, settings, notes. */
import type { RunData } from "../src/reports/record.ts";
import type { SeriesData } from "../src/reports/series.ts";
import { element } from "./element.ts";
import { lastOf } from "./runs.ts";
import { bytes, duration, plain } from "./scale.ts";

const statusText = { running: "running", done: "finished", stopped: "stopped" } as const;

const dateText = (seconds: number): string =>
  new Date(seconds * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });

const least = (values: readonly number[]): number => values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);

/** The least held-out loss and its step. */
function bestOf(run: RunData): { readonly loss: number; readonly step: number } | undefined {
  const curve = run.series["eval/loss"];
  if (curve === undefined || curve.x.length === 0) return undefined;
  const loss = least(curve.y);
  return { loss, step: curve.x[curve.y.indexOf(loss)] ?? 0 };
}

/** The mean over the last fiftieth. */
function recent(curve: SeriesData | undefined): number | undefined {
  if (curve === undefined || curve.y.length === 0) return undefined;
  const values = curve.y.slice(-Math.max(1, Math.floor(curve.y.length / 50)));
  return values.reduce((a, b) => a + b, 0) / values.length;
}

function tiles(run: RunData): HTMLElement {
  const tile = (name: string, value: string | undefined, more = "") =>
    value !== undefined &&
    element(
      "div",
      {},
      element("dt", {}, name),
      element("dd", {}, value, more !== "" && element("small", {}, ` ${more}`)),
    );
  const best = bestOf(run);
  const seconds = lastOf(run.series["elapsed"]) ?? 0;
  const share = run.steps === null ? undefined : run.step / run.steps;
  const speed = recent(run.series["tokensPerSecond"]);
  const memory = lastOf(run.series["peakBytes"]) ?? lastOf(run.series["memory/process"]);
  const left = share !== undefined && share > 0 && share < 1 ? `${duration((seconds * (1 - share)) / share)} left` : "";
  return element(
    "dl",
    { class: "tiles" },
    tile("Steps", plain(run.step), run.steps === null ? "" : `of ${plain(run.steps)}`),
    tile("Loss", recent(run.series["loss"])?.toFixed(3), "train"),
    best && tile("Best held-out", best.loss.toFixed(3), `step ${plain(best.step)}`),
    tile("Tokens per second", speed === undefined ? undefined : Math.round(speed).toLocaleString("en-US")),
    tile("Peak memory", memory === undefined ? undefined : bytes(memory)),
    tile("Time", duration(seconds), run.status === "running" ? left : ""),
  );
}

/** Name, state, figures. */
export function head(run: RunData, index: number, isOnly: boolean): HTMLElement {
  const share = run.steps === null ? undefined : Math.min(1, run.step / run.steps);
  const percent = share === undefined ? 0 : Math.floor(share * 100);
  return element(
    "section",
    { class: "run panel", "aria-label": run.name },
    element(
      "div",
      { class: "title" },
      element("h1", {}, !isOnly && element("i", { class: `key k${(index * 2) % 8}` }), run.name),
      element("span", { class: `status ${run.status}` }, statusText[run.status]),
      element("p", {}, `began ${dateText(run.started)}, last event ${dateText(run.updated)}`),
    ),
    share !== undefined &&
      run.status !== "done" &&
      element(
        "div",
        {
          class: "bar",
          role: "progressbar",
          "aria-label": "steps",
          "aria-valuemin": 0,
          "aria-valuemax": 100,
          "aria-valuenow": percent,
        },
        element("div", { style: `width: ${(share * 100).toFixed(1)}%` }),
      ),
    tiles(run),
  );
}

/** Newest first; those of two runs beside each other. */
export function samples(runs: readonly RunData[]): HTMLElement | null {
  if (runs.every((run) => run.samples.length === 0)) return null;
  const columns = runs.map((run, r) =>
    element(
      "div",
      { class: "column" },
      runs.length > 1 && element("h3", {}, element("i", { class: `key k${(r * 2) % 8}` }), run.name),
      ...run.samples
        .toReversed()
        .map(({ step, prompt, text }, i) =>
          element(
            "details",
            { class: "sample", open: i < 2 },
            element("summary", {}, step === null ? "sample" : `Step ${plain(step)}`),
            element("p", {}, element("b", {}, prompt), text),
          ),
        ),
    ),
  );
  return element(
    "section",
    { class: "panel wide" },
    element("h2", {}, "Samples"),
    element("div", { class: "columns" }, ...columns),
  );
}

const cell = (value: unknown): string =>
  typeof value === "number"
    ? Number.isInteger(value)
      ? value.toLocaleString("en-US")
      : plain(value)
    : String(value ?? "–");

/** One column a run; what differs is marked. */
export function settings(runs: readonly RunData[]): HTMLElement | null {
  const keys = [...new Set(runs.flatMap((run) => Object.keys(run.settings)))].sort();
  if (keys.length === 0) return null;
  const differs = (key: string): boolean => new Set(runs.map((run) => cell(run.settings[key]))).size > 1;
  const row = (key: string) =>
    element(
      "tr",
      { class: differs(key) ? "differs" : undefined },
      element("th", { scope: "row" }, key, differs(key) && element("span", { class: "mark" }, " differs")),
      ...runs.map((run) => element("td", {}, cell(run.settings[key]))),
    );
  const sorted = [...keys.filter(differs), ...keys.filter((key) => !differs(key))];
  const title = element(
    "tr",
    {},
    element("th", { scope: "col" }, "setting"),
    ...runs.map((run) => element("th", { scope: "col" }, runs.length > 1 ? run.name : "value")),
  );
  const table = element(
    "table",
    { class: "settings" },
    element("thead", {}, title),
    element("tbody", {}, ...sorted.map(row)),
  );
  return element(
    "section",
    { class: "panel wide" },
    element("h2", {}, "Settings"),
    element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Settings" }, table),
  );
}

/** Warnings, skipped steps, resumptions. */
export function notes(runs: readonly RunData[]): HTMLElement | null {
  const all = runs.flatMap((run) => run.notes.map((note) => ({ run: run.name, ...note })));
  if (all.length === 0) return null;
  const items = all
    .toReversed()
    .map(({ run, step, kind, text }) =>
      element(
        "li",
        {},
        element("b", {}, kind),
        ` ${step === null ? "" : `step ${plain(step)}: `}${text}`,
        runs.length > 1 && element("small", {}, ` ${run}`),
      ),
    );
  return element(
    "section",
    { class: "panel wide" },
    element("h2", {}, "Notes"),
    element("ul", { class: "notes" }, ...items),
  );
}
