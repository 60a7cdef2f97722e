/** The page of a run: its script. It draws what the page holds, listens to the reader, and asks nothing of any network. */
import type { RunData } from "../src/reports/record.ts";
import { axisFormat, type Chart, chart, type View } from "./chart.ts";
import { element } from "./element.ts";
import { figuresOf } from "./figures.ts";
import { head, notes, samples, settings } from "./panels.ts";
import { type Axis, runsIn, runsOf } from "./runs.ts";

const reloadMs = 10_000;
const key = `sinan-report:${location.pathname}`;

/** What is remembered while this page is reloaded; some browsers keep nothing for files. */
interface Kept {
  readonly view: View;
  readonly follow: boolean;
  readonly opened: readonly RunData[];
}
function kept(): Partial<Kept> {
  try {
    return JSON.parse(sessionStorage.getItem(key) ?? "{}") as Partial<Kept>;
  } catch {
    return {};
  }
}

const own = runsIn(document);
const before = kept();
let opened: readonly RunData[] = before.opened ?? [];
let follow = before.follow ?? false;
let view: View = before.view ?? { axis: "step", log: false, smoothing: 0.8, zoom: null };
let charts: Chart[] = [];
let place: number | null = null;

const all = (): RunData[] => [...own, ...opened];

function keep(): void {
  try {
    sessionStorage.setItem(key, JSON.stringify({ view, follow, opened } satisfies Kept));
  } catch {
    // then a reload begins anew
  }
}

const live = element("p", { class: "unseen", "aria-live": "polite" });

function look(next: number | null): void {
  place = next;
  for (const one of charts) one.look(next);
}

function show(next: Partial<View>): void {
  view = { ...view, ...next };
  reset.disabled = view.zoom === null;
  const whole = wholeRange();
  for (const one of charts) one.draw(view, whole);
  look(place);
  keep();
}

function wholeRange(): [number, number] {
  const ranges = charts.flatMap((one) => one.range(view.axis) ?? []);
  return ranges.length === 0 ? [0, 1] : [Math.min(...ranges), Math.max(...ranges)];
}

/** Around the crosshair, or towards the end of the run. */
function zoomBy(factor: number): void {
  const [least, most] = wholeRange();
  const [from, to] = view.zoom ?? [least, most];
  const span = Math.min(most - least, (to - from) * factor);
  const middle = place ?? to;
  const share = to > from ? (middle - from) / (to - from) : 1;
  const start = Math.max(least, Math.min(most - span, middle - span * share));
  show({ zoom: span >= most - least ? null : [start, start + span] });
}

const reset = element("button", { type: "button", disabled: true }, "Whole run");
reset.addEventListener("click", () => show({ zoom: null }));

function choice<T extends string>(
  label: string,
  options: readonly (readonly [T, string])[],
  value: T,
  pick: (value: T) => void,
) {
  const select = element("select", {}, ...options.map(([name, text]) => element("option", { value: name }, text)));
  select.value = value;
  select.addEventListener("change", () => pick(select.value as T));
  return element("label", {}, label, select);
}

function toggle(label: string, value: boolean, pick: (value: boolean) => void): HTMLElement {
  const box = element("input", { type: "checkbox", checked: value });
  box.addEventListener("change", () => pick(box.checked));
  return element("label", {}, box, label);
}

function button(text: string, label: string, press: () => void): HTMLElement {
  const made = element("button", { type: "button", "aria-label": label, title: label }, text);
  made.addEventListener("click", press);
  return made;
}

function smoothingSlider(): HTMLElement {
  const slider = element("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: view.smoothing });
  const value = element("output", {}, view.smoothing.toFixed(2));
  slider.addEventListener("input", () => {
    value.textContent = Number(slider.value).toFixed(2);
    show({ smoothing: Number(slider.value) });
  });
  return element("label", { class: "slider" }, "Smoothing", slider, value);
}

const problem = element("p", { class: "problem", role: "alert", hidden: true });

async function open(files: Iterable<File>): Promise<void> {
  problem.hidden = true;
  for (const file of files) {
    try {
      opened = [...opened, ...runsOf(file.name, await file.text())];
    } catch (error) {
      problem.textContent = error instanceof Error ? error.message : String(error);
      problem.hidden = false;
    }
  }
  build();
}

function compareControl(): HTMLElement[] {
  const input = element("input", { type: "file", accept: ".html,.jsonl", multiple: true, class: "unseen" });
  input.addEventListener("change", () => void open(input.files ?? []));
  const pick = element(
    "label",
    { class: "button", title: "A report.html or events.jsonl; or drop it on the page" },
    "Compare with…",
    input,
  );
  if (opened.length === 0) return [pick];
  return [
    pick,
    button("Only this run", "Leave the other runs out", () => {
      opened = [];
      build();
    }),
  ];
}

function toolbar(runs: readonly RunData[]): HTMLElement {
  const axes: (readonly [Axis, string])[] = [
    ["step", "steps"],
    ...(runs.every((run) => run.tokensPerStep !== null) ? [["tokens", "tokens"] as const] : []),
    ["time", "time"],
  ];
  const running = runs.some((run) => run.status === "running");
  return element(
    "div",
    { class: "toolbar", role: "toolbar", "aria-label": "Charts" },
    smoothingSlider(),
    toggle("Logarithmic", view.log, (log) => show({ log })),
    choice("Over", axes, view.axis, (axis) => show({ axis, zoom: null })),
    element(
      "div",
      { class: "group" },
      button("+", "Zoom in", () => zoomBy(0.5)),
      button("−", "Zoom out", () => zoomBy(2)),
      reset,
    ),
    ...compareControl(),
    running &&
      toggle("Follow", follow, (value) => {
        follow = value;
        keep();
      }),
  );
}

/** Arrows move the crosshair, + and − zoom, Escape shows the whole run. */
function onKey(event: KeyboardEvent): void {
  const at = event.target instanceof Element ? event.target.closest(".frame") : null;
  if (at === null || event.ctrlKey || event.metaKey || event.altKey) return;
  const [least, most] = view.zoom ?? wholeRange();
  const hop = ((most - least) / 100) * (event.shiftKey ? 10 : 1);
  const move = (to: number): void => {
    const next = Math.min(most, Math.max(least, to));
    look(next);
    live.textContent = charts.find((one) => one.element.contains(at))?.words(next) ?? axisFormat[view.axis](next);
  };
  const actions: Readonly<Record<string, () => void>> = {
    ArrowLeft: () => move((place ?? most) - hop),
    ArrowRight: () => move((place ?? least) + hop),
    Home: () => move(least),
    End: () => move(most),
    "+": () => zoomBy(0.5),
    "=": () => zoomBy(0.5),
    "-": () => zoomBy(2),
    Escape: () => {
      look(null);
      show({ zoom: null });
    },
  };
  const action = actions[event.key];
  if (action === undefined) return;
  event.preventDefault();
  action();
}

function build(): void {
  const runs = all();
  document.title = `${runs.map((run) => run.name).join(" · ")} · Sinan`;
  charts = figuresOf(runs).map((figure) => chart(figure, runs, { look, zoom: (zoom) => show({ zoom }) }));
  const rest = [samples(runs), settings(runs), notes(runs)].filter((part) => part !== null);
  const main = document.querySelector("main");
  main?.replaceChildren(
    element("div", { class: "heads" }, ...runs.map((run, r) => head(run, r, runs.length === 1))),
    toolbar(runs),
    problem,
    element("div", { class: "grid" }, ...charts.map((one) => one.element), ...rest),
    live,
  );
  show({});
}

document.addEventListener("keydown", onKey);
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  void open(event.dataTransfer?.files ?? []);
});
setInterval(() => {
  if (follow && !document.hidden && all().some((run) => run.status === "running")) location.reload();
}, reloadMs);
build();
