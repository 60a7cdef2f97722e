/** The curve of the loss on a canvas: a dot a step, their running mean as a line, and rings for text that is not learned from. */

const margin = { left: 44, right: 16, top: 16, bottom: 30 };

export class Chart {
  /** A loss worth knowing, drawn as a dashed line. */
  reference: number | undefined;
  readonly #canvas: HTMLCanvasElement;
  readonly #points: (readonly [step: number, loss: number])[] = [];
  readonly #smooth: (readonly [step: number, loss: number])[] = [];
  readonly #marks: (readonly [step: number, loss: number])[] = [];
  #steps = 1;
  #isDue = false;

  constructor(canvas: HTMLCanvasElement) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.#redraw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#redraw());
  }

  clear(steps: number): void {
    this.#steps = steps;
    this.reference = undefined;
    for (const list of [this.#points, this.#smooth, this.#marks]) list.length = 0;
    this.#redraw();
  }

  add(step: number, loss: number): void {
    this.#points.push([step, loss]);
    const before = this.#smooth.at(-1)?.[1] ?? loss;
    // About the mean of the last hundredth of the run, at least of five steps.
    const share = 1 / Math.min(this.#points.length, Math.max(5, this.#steps / 100));
    this.#smooth.push([step, before + share * (loss - before)]);
    this.#redraw();
  }

  mark(step: number, loss: number): void {
    this.#marks.push([step, loss]);
    this.#redraw();
  }

  /** Once a frame, however much was told. */
  #redraw(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      this.#draw();
    });
  }

  #draw(): void {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const context = this.#canvas.getContext("2d");
    if (!context || width === 0) return;
    this.#canvas.width = width * devicePixelRatio;
    this.#canvas.height = height * devicePixelRatio;
    context.scale(devicePixelRatio, devicePixelRatio);
    context.font = "12px system-ui, sans-serif";
    const style = getComputedStyle(this.#canvas);
    const colour = (name: string): string => style.getPropertyValue(`--${name}`);

    const seen = [...this.#points, ...this.#marks].map(([, loss]) => loss);
    const high = Math.ceil(2 * Math.max(this.reference ?? 1, ...seen)) / 2;
    const low = Math.min(high - 1, Math.floor(2 * Math.min(high, ...seen)) / 2);
    const x = (step: number): number => margin.left + (step / this.#steps) * (width - margin.left - margin.right);
    const y = (loss: number): number =>
      margin.top + ((high - loss) / (high - low)) * (height - margin.top - margin.bottom);

    context.lineWidth = 1;
    context.fillStyle = colour("quiet");
    context.strokeStyle = colour("rule");
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (let loss = low; loss <= high; loss += high - low > 4 ? 1 : 0.5) {
      line(context, [margin.left, y(loss)], [width - margin.right, y(loss)]);
      context.fillText(loss.toFixed(1), margin.left - 8, y(loss));
    }
    context.textAlign = "center";
    context.textBaseline = "top";
    for (let i = 0; i <= 5; i++) {
      const step = Math.round((i * this.#steps) / 5);
      context.fillText(String(step), x(step), height - margin.bottom + 10);
    }
    if (this.reference !== undefined) {
      context.setLineDash([4, 4]);
      context.strokeStyle = colour("quiet");
      line(context, [margin.left, y(this.reference)], [width - margin.right, y(this.reference)]);
      context.setLineDash([]);
      context.textAlign = "right";
      context.textBaseline = "bottom";
      context.fillText("knows nothing", width - margin.right, y(this.reference) - 4);
    }

    context.fillStyle = colour("dot");
    for (const [step, loss] of this.#points) context.fillRect(x(step) - 1, y(loss) - 1, 2, 2);
    context.strokeStyle = colour("accent");
    context.lineWidth = 2.5;
    context.lineJoin = "round";
    context.beginPath();
    for (const [step, loss] of this.#smooth) context.lineTo(x(step), y(loss));
    context.stroke();
    context.lineWidth = 2;
    context.strokeStyle = colour("second");
    context.fillStyle = colour("paper");
    for (const [step, loss] of this.#marks) {
      context.beginPath();
      context.arc(x(step), y(loss), 4, 0, 2 * Math.PI);
      context.fill();
      context.stroke();
    }
  }
}

type Place = readonly [x: number, y: number];

function line(context: CanvasRenderingContext2D, from: Place, to: Place): void {
  context.beginPath();
  context.moveTo(...from);
  context.lineTo(...to);
  context.stroke();
}
