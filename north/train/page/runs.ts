/** The runs that the page shows: those in it, and others that a reader opens from files. */
import { eventOf, numberIn } from "../src/reports/event.ts";
import { type RunData, runRecord } from "../src/reports/record.ts";
import type { SeriesData } from "../src/reports/series.ts";

export type Axis = "step" | "tokens" | "time";

/** The runs written into a page. */
export function runsIn(page: Document): RunData[] {
  const text = page.getElementById("runs")?.textContent;
  return text ? (JSON.parse(text) as RunData[]) : [];
}

/** A run from another report page or from its lines of events.
 *  @throws Error if the text is neither */
export function runsOf(name: string, text: string): RunData[] {
  if (text.trimStart().startsWith("<")) {
    const runs = runsIn(new DOMParser().parseFromString(text, "text/html"));
    if (runs.length > 0) return runs;
  }
  const record = runRecord({ name: name.replace(/\.\w+$/, "") });
  let known = 0;
  for (const line of text.split("\n")) {
    const event = eventOf(line);
    if (event === undefined) continue;
    record.event(event, numberIn(event, "time") ?? 0);
    known++;
  }
  if (known === 0) throw new Error(`${name} is neither a report.html nor an events.jsonl`);
  record.close();
  return [record.data()];
}

/** Each step's place on an axis. */
export function placeOf(run: RunData, axis: Axis): (step: number) => number {
  if (axis === "tokens") return (step) => step * (run.tokensPerStep ?? 1);
  const seconds = run.series["elapsed"];
  if (axis === "step" || seconds === undefined) return (step) => step;
  const { x, y } = seconds;
  return (step) => {
    let [low, high] = [0, x.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((x[middle] ?? 0) < step) low = middle + 1;
      else high = middle;
    }
    const [x1 = 0, y1 = 0, x0 = 0, y0 = 0] = [x[low], y[low], x[low - 1], y[low - 1]];
    return low === 0 || x1 <= step ? y1 : y0 + ((y1 - y0) * (step - x0)) / (x1 - x0);
  };
}

/** An exponential mean without the pull of its beginning: Kingma & Ba 2015, section 3. */
export function smoothed(values: readonly number[], keep: number): readonly number[] {
  if (keep === 0) return values;
  let mean = 0;
  let weight = 0;
  return values.map((value) => {
    mean = keep * mean + (1 - keep) * value;
    weight = keep * weight + (1 - keep);
    return mean / weight;
  });
}

/** The index of the point nearest to a place; -1 if there is none. */
export function nearest(places: readonly number[], place: number): number {
  let [low, high] = [0, places.length - 1];
  if (high < 0) return -1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((places[middle] ?? 0) <= place) low = middle;
    else high = middle;
  }
  return Math.abs((places[low] ?? 0) - place) <= Math.abs((places[high] ?? 0) - place) ? low : high;
}

export const lastOf = (series: SeriesData | undefined): number | undefined => series?.y.at(-1);
