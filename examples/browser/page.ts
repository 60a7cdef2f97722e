/** The page: it starts the worker, and shows what the worker tells: figures, the curve of the loss, samples of text. */
import { Chart } from "./chart.ts";
import type { Answer, Asked } from "./messages.ts";

const find = <E extends HTMLElement>(id: string, kind: abstract new () => E): E => {
  const found = document.getElementById(id);
  if (found instanceof kind) return found;
  throw new Error(`the page has no ${id}`);
};
const button = find("go", HTMLButtonElement);
const file = find("file", HTMLInputElement);
const samples = find("samples", HTMLOListElement);
const state = find("state", HTMLElement);
const say = (id: string, text: string): void => {
  find(id, HTMLElement).textContent = text;
};

const chart = new Chart(find("chart", HTMLCanvasElement));
const query = new URLSearchParams(location.search);
const steps = Number(query.get("steps") ?? 1500);
const sampleEvery = Number(query.get("sample") ?? 50);
const characters = Number(query.get("characters") ?? 300_000);

const worker = new Worker(new URL("worker.js", location.href), { type: "module" });
const ask = (asked: Asked): void => worker.postMessage(asked, []);
/** Tokens a second, smoothed; the first steps compile. */
let pace = 0;
let isRunning = false;

const text = async (): Promise<string> => {
  const [own] = file.files ?? [];
  return own ? own.text() : (await fetch("moby-dick.txt")).text();
};

function run(isNow: boolean): void {
  isRunning = isNow;
  button.textContent = isNow ? "Stop" : "Start";
  document.body.classList.toggle("running", isNow);
}

async function start(): Promise<void> {
  run(true);
  chart.clear(steps);
  samples.replaceChildren();
  pace = 0;
  state.textContent = "learning a vocabulary …";
  const all = await text();
  ask({ ask: "start", settings: { text: all.slice(0, characters), steps, sampleEvery } });
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

function show(told: Answer): void {
  switch (told.event) {
    case "start":
      say("parameters", whole.format(told.parameters));
      say("device", `${told.threads} ${told.threads === 1 ? "thread" : "threads"}`);
      state.textContent = `compiling a step of ${told.device} …`;
      // What a model that knows nothing loses: each token is as likely as any other.
      chart.reference = Math.log(told.vocabulary);
      return;
    case "step":
      pace = told.step < 4 || pace === 0 ? told.tokensPerSecond : 0.95 * pace + 0.05 * told.tokensPerSecond;
      state.textContent = "training";
      say("step", `${whole.format(told.step)} / ${whole.format(steps)}`);
      say("loss", told.loss.toFixed(3));
      say("pace", whole.format(pace));
      chart.add(told.step, told.loss);
      return;
    case "sample":
      say("heldout", told.heldOut.toFixed(3));
      chart.mark(told.step, told.heldOut);
      samples.prepend(sample(told.step, told.text));
      return;
    case "done":
      state.textContent = told.stopped ? `stopped after ${told.step} steps` : "done";
      run(false);
      return;
    case "error":
      state.textContent = told.message;
      run(false);
      return;
    default:
      told satisfies never;
  }
}

function sample(step: number, written: string): HTMLLIElement {
  const item = document.createElement("li");
  const label = document.createElement("span");
  label.textContent = `step ${whole.format(step)}`;
  const quote = document.createElement("p");
  quote.textContent = written.replaceAll(/\s+/g, " ");
  item.append(label, quote);
  return item;
}

worker.addEventListener("message", ({ data }: MessageEvent<Answer>) => show(data));
worker.addEventListener("error", ({ message }) => show({ event: "error", message }));
button.addEventListener("click", () => {
  if (isRunning) ask({ ask: "stop" });
  else void start();
});
file.addEventListener("change", () => say("source", file.files?.[0]?.name ?? "Moby Dick"));
say("memory", crossOriginIsolated ? "shared memory" : "memory of its own");
if (query.has("start")) void start();
