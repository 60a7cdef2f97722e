/** One chart: curves of one or several runs over a common axis, drawn as SVG at the size that there is. It looks by a crosshair,
 *  zooms by dragging, and has its numbers as a table too. */
import type { RunData } from "../src/reports/record.ts";
import { element, shape } from "./element.ts";
import type { Figure } from "./figures.ts";
import { type Axis, nearest, placeOf, smoothed } from "./runs.ts";
import { airy, clocklike, duration, type Format, linear, logarithmic, plain, type Scale, short } from "./scale.ts";

/** What all charts of the page share. */
export interface View {
  readonly axis: Axis;
  readonly log: boolean;
  /** 0: not at all; below 1. */
  readonly smoothing: number;
  /** What is zoomed to, on the axis. */
  readonly zoom: Range | null;
}

/** A range of the axis. */
export type Range = readonly [number, number];

export interface Chart {
  readonly element: HTMLElement;
  /** @param whole  the range of all charts, shown where there is no zoom */
  draw(view: View, whole: Range): void;
  /** Shows the values at a place of the axis; null for none. */
  look(place: number | null): void;
  /** What `look` shows, in words. */
  words(place: number): string;
  /** Ends of the values on the axis. */
  range(axis: Axis): [number, number] | null;
}

export interface ChartEvents {
  look(place: number | null): void;
  zoom(range: Range | null): void;
}

interface Curve {
  readonly label: string;
  readonly slot: number;
  readonly dots: boolean;
  readonly x: readonly number[];
  readonly y: readonly number[];
  readonly low: readonly number[] | undefined;
  readonly high: readonly number[] | undefined;
  /** As drawn: smoothed. */
  readonly line: readonly number[];
}

const [marginLeft, marginRight, marginTop, marginBottom] = [52, 14, 10, 26];
const tableRows = 24;

export const axisFormat: Readonly<Record<Axis, Format>> = { step: plain, tokens: short, time: duration };
export const axisName: Readonly<Record<Axis, string>> = { step: "step", tokens: "tokens", time: "time" };

export function chart(figure: Figure, runs: readonly RunData[], events: ChartEvents): Chart {
  const drawing = shape("svg", { class: "plot", "aria-hidden": "true" });
  const tip = element("div", { class: "tip", hidden: true });
  const plot = element("div", { class: "frame", tabindex: 0, role: "img" }, drawing, tip);
  const legend = element("div", { class: "legend" });
  const table = element("div", {
    class: "scroll",
    tabindex: 0,
    role: "region",
    "aria-label": `${figure.title}, values`,
  });
  const numbers = element("details", {}, element("summary", {}, "Values as a table"), table);
  const root = element(
    "figure",
    { class: figure.wide ? "panel wide" : "panel" },
    element("figcaption", {}, element("h2", {}, figure.title), legend),
    plot,
    numbers,
  );

  let view: View = { axis: "step", log: false, smoothing: 0, zoom: null };
  let whole: Range = [0, 1];
  let curves: Curve[] = [];
  let across: Scale = linear(0, 1, 5);
  let up: Scale = linear(0, 1, 4);
  let [width, height] = [0, 0];
  const cursor = shape("g", { class: "cursor" });
  const selection = shape("rect", { class: "selection", y: marginTop, hidden: true });

  const right = (): number => width - marginRight;
  const bottom = (): number => height - marginBottom;
  const atX = (place: number): number => marginLeft + across.share(place) * (right() - marginLeft);
  const atY = (value: number): number => bottom() - up.share(value) * (bottom() - marginTop);
  const placeAt = (clientX: number): number => {
    const box = drawing.getBoundingClientRect();
    const share = (clientX - box.left - marginLeft) / (right() - marginLeft);
    return across.low + Math.min(1, Math.max(0, share)) * (across.high - across.low);
  };

  const read = (): void => {
    curves = runs.flatMap((run, r) =>
      figure.lines.flatMap(({ key, label, dots = false }, l) => {
        const data = run.series[key];
        if (data === undefined || data.x.length === 0) return [];
        const x = data.x.map(placeOf(run, view.axis));
        const line = figure.smooth && !dots ? smoothed(data.y, view.smoothing) : data.y;
        const full = runs.length > 1 ? `${run.name}${figure.lines.length > 1 ? `, ${label}` : ""}` : label;
        return [{ label: full, slot: (r * 2 + l) % 8, dots, x, y: data.y, low: data.low, high: data.high, line }];
      }),
    );
  };

  const range = (): [number, number] | null => {
    const ends = curves.flatMap(({ x }) => [x[0] ?? 0, x.at(-1) ?? 0]);
    return ends.length === 0 ? null : [Math.min(...ends), Math.max(...ends)];
  };

  const scales = (): void => {
    const [least, most] = view.zoom ?? whole;
    const ticks = Math.max(2, Math.floor((right() - marginLeft) / 70));
    across = view.axis === "time" ? clocklike(least, most, ticks) : linear(least, most, ticks);
    const isLog = view.log && figure.log === true;
    const seen: number[] = [];
    for (const { x, y, line } of curves) {
      for (let i = 0; i < x.length; i++) {
        const place = x[i] ?? 0;
        if (place < least || place > most) continue;
        for (const value of [y[i] ?? 0, line[i] ?? 0]) if (!isLog || value > 0) seen.push(value);
      }
    }
    seen.sort((a, b) => a - b);
    // A few wild steps are cut off rather than press all others together.
    const cut = seen.length > 100 ? Math.floor(seen.length / 400) : 0;
    const ends: [number, number] = [seen[cut] ?? 1, seen[seen.length - 1 - cut] ?? 1];
    if (figure.fromZero && !isLog) ends[0] = Math.min(0, ends[0]);
    const [low, high] = airy(ends[0], ends[1], isLog);
    const count = Math.max(2, Math.floor((bottom() - marginTop) / 44));
    up = isLog ? logarithmic(low, high, count) : linear(low, high, count);
  };

  const path = (x: readonly number[], y: readonly number[]): string => {
    let text = "";
    for (let i = 0; i < x.length; i++) {
      const [px, py] = [atX(x[i] ?? 0), atY(y[i] ?? 0)];
      if (Number.isFinite(py)) text += `${text === "" ? "M" : "L"}${px.toFixed(1)} ${py.toFixed(1)}`;
    }
    return text;
  };

  const curveOf = ({ x, y, low, high, line, slot, dots }: Curve): SVGElement[] => {
    const made: SVGElement[] = [];
    const raw = figure.smooth && !dots && view.smoothing > 0;
    if (low && high && !dots) {
      const back = path([...x].reverse(), [...low].reverse());
      made.push(shape("path", { class: `band c${slot}`, d: `${path(x, high)}${back.replace("M", "L")}Z` }));
    }
    if (raw && !low) made.push(shape("path", { class: `raw c${slot}`, d: path(x, y) }));
    made.push(shape("path", { class: `line c${slot}${dots ? " dashed" : ""}`, d: path(x, line) }));
    if (dots || x.length === 1)
      for (let i = 0; i < x.length; i++)
        made.push(
          shape("circle", {
            class: `dot c${slot}`,
            cx: atX(x[i] ?? 0),
            cy: atY(line[i] ?? 0),
            r: x.length > 60 ? 2 : 3.5,
          }),
        );
    return made;
  };

  const axes = (): SVGElement[] => {
    const format = figure.tick ?? figure.format;
    const made: SVGElement[] = [];
    for (const tick of up.ticks) {
      const y = atY(tick);
      made.push(shape("line", { class: "grid", x1: marginLeft, x2: right(), y1: y, y2: y }));
      made.push(shape("text", { class: "label", x: marginLeft - 8, y: y + 4, "text-anchor": "end" }, format(tick)));
    }
    const ends = [marginLeft + 14, right() - 4];
    for (const tick of across.ticks) {
      const x = atX(tick);
      const anchor = x < (ends[0] ?? 0) ? "start" : x > (ends[1] ?? 0) - 16 ? "end" : "middle";
      made.push(shape("line", { class: "tick", x1: x, x2: x, y1: bottom(), y2: bottom() + 4 }));
      made.push(
        shape("text", { class: "label", x, y: bottom() + 18, "text-anchor": anchor }, axisFormat[view.axis](tick)),
      );
    }
    made.push(shape("line", { class: "base", x1: marginLeft, x2: right(), y1: bottom(), y2: bottom() }));
    return made;
  };

  const render = (): void => {
    width = Math.max(220, plot.clientWidth);
    height = Math.max(160, plot.clientHeight);
    scales();
    drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const id = `clip-${figure.title.replaceAll(/\W+/g, "-")}`;
    const clip = shape(
      "clipPath",
      { id },
      shape("rect", {
        x: marginLeft,
        y: marginTop - 4,
        width: right() - marginLeft + 5,
        height: bottom() - marginTop + 6,
      }),
    );
    const inner = shape("g", { "clip-path": `url(#${id})` }, ...curves.flatMap(curveOf));
    selection.setAttribute("height", String(bottom() - marginTop));
    drawing.replaceChildren(clip, ...axes(), inner, selection, cursor);
    plot.setAttribute("aria-label", summary());
  };

  const summary = (): string =>
    `${figure.title}. ${curves
      .map(({ label, x, line }) => {
        const [from, to] = [line[0] ?? 0, line.at(-1) ?? 0];
        const ends = `${figure.format(from)} at ${axisName[view.axis]} ${axisFormat[view.axis](x[0] ?? 0)}, ${figure.format(to)} at ${axisFormat[view.axis](x.at(-1) ?? 0)}`;
        return `${label}: ${ends}, lowest ${figure.format(line.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY))}`;
      })
      .join("; ")}. Arrow keys read values.`;

  /** Values at a place: of a curve that is there, its nearest point. */
  const valuesAt = (place: number): { curve: Curve; i: number }[] =>
    curves.flatMap((curve) => {
      const i = nearest(curve.x, place);
      const [first = 0, last = 0] = [curve.x[0], curve.x.at(-1)];
      const slack = (across.high - across.low) / 50;
      return i < 0 || place < first - slack || place > last + slack ? [] : [{ curve, i }];
    });

  const look = (place: number | null): void => {
    const found = place === null ? [] : valuesAt(place);
    tip.hidden = found.length === 0;
    const [first] = found;
    if (first === undefined || place === null) return cursor.replaceChildren();
    // The crosshair stands on a point of the densest curve.
    const dense = found.reduce((a, b) => (b.curve.x.length > a.curve.x.length ? b : a), first);
    const here = dense.curve.x[dense.i] ?? place;
    const x = atX(here);
    cursor.replaceChildren(
      shape("line", { x1: x, x2: x, y1: marginTop, y2: bottom() }),
      ...found.map(({ curve, i }) =>
        shape("circle", { class: `dot c${curve.slot}`, cx: atX(curve.x[i] ?? 0), cy: atY(curve.line[i] ?? 0), r: 4 }),
      ),
    );
    const rows = found.map(({ curve, i }) =>
      element(
        "div",
        {},
        element("i", { class: `key k${curve.slot}${curve.dots ? " ring" : ""}` }),
        element("span", {}, curve.label),
        element("b", {}, figure.format(curve.line[i] ?? 0)),
      ),
    );
    tip.replaceChildren(element("small", {}, `${axisName[view.axis]} ${axisFormat[view.axis](here)}`), ...rows);
    // Beside the crosshair where there is room, and never outside of the chart.
    const besides = x > width / 2 ? x - 14 - tip.offsetWidth : x + 14;
    tip.style.left = `${Math.max(0, Math.min(besides, width - tip.offsetWidth))}px`;
  };

  const fillTable = (): void => {
    const [first] = curves;
    if (!numbers.open || first === undefined) return;
    const dense = curves.reduce((a, b) => (b.x.length > a.x.length ? b : a), first);
    const [least, most] = [across.low, across.high];
    const places = dense.x.filter((x) => x >= least && x <= most);
    const every = Math.max(1, (places.length - 1) / (tableRows - 1));
    const chosen = Array.from(
      { length: Math.min(tableRows, places.length) },
      (_, n) => places[Math.round(n * every)] ?? 0,
    );
    const head = element(
      "tr",
      {},
      element("th", { scope: "col" }, axisName[view.axis]),
      ...curves.map(({ label }) => element("th", { scope: "col" }, label)),
    );
    const rows = chosen.map((place) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, axisFormat[view.axis](place)),
        ...curves.map(({ x, line }) => {
          const i = nearest(x, place);
          const near = Math.abs((x[i] ?? 0) - place) <= (most - least) / tableRows;
          return element("td", {}, near ? figure.format(line[i] ?? 0) : "");
        }),
      ),
    );
    table.replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
  };

  const fillLegend = (): void =>
    legend.replaceChildren(
      ...(curves.length < 2 && runs.length < 2 ? [] : curves).map(({ label, slot, dots }) =>
        element("span", {}, element("i", { class: `key k${slot}${dots ? " ring" : ""}` }), label),
      ),
    );

  let dragFrom: number | null = null;
  plot.addEventListener("pointermove", (event) => {
    const place = placeAt(event.clientX);
    events.look(place);
    if (dragFrom === null) return;
    const [a, b] = [atX(Math.min(dragFrom, place)), atX(Math.max(dragFrom, place))];
    selection.toggleAttribute("hidden", b - a < 3);
    selection.setAttribute("x", String(a));
    selection.setAttribute("width", String(b - a));
  });
  plot.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "touch" || event.button !== 0) return; // a finger scrolls
    dragFrom = placeAt(event.clientX);
    plot.setPointerCapture(event.pointerId);
  });
  const drop = (event: PointerEvent): void => {
    if (dragFrom === null) return;
    const place = placeAt(event.clientX);
    const [a, b] = [Math.min(dragFrom, place), Math.max(dragFrom, place)];
    dragFrom = null;
    selection.toggleAttribute("hidden", true);
    if (event.type === "pointerup" && atX(b) - atX(a) > 8) events.zoom([a, b]);
  };
  plot.addEventListener("pointerup", drop);
  plot.addEventListener("pointercancel", drop);
  plot.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && events.look(null));
  plot.addEventListener("dblclick", () => events.zoom(null));
  numbers.addEventListener("toggle", fillTable);
  new ResizeObserver(() => {
    if (plot.clientWidth > 0 && (plot.clientWidth !== width || plot.clientHeight !== height)) render();
  }).observe(plot);

  return {
    element: root,
    draw(next, ends) {
      view = next;
      whole = ends;
      read();
      root.hidden = curves.length === 0;
      fillLegend();
      render();
      fillTable();
    },
    look,
    words: (place) =>
      `${axisName[view.axis]} ${axisFormat[view.axis](place)}: ${valuesAt(place)
        .map(({ curve, i }) => `${curve.label} ${figure.format(curve.line[i] ?? 0)}`)
        .join(", ")}`,
    range(axis) {
      view = { ...view, axis };
      read();
      return range();
    },
  };
}
