/** Some lines at the end of a terminal that are drawn again and again, in place. What anyone else writes to the same terminal
 *  meanwhile, a `console.log` of the program's own, stands above them. The cursor is hidden as long, and comes back whatever ends
 *  the program, short of kill −9. */

/** Where text goes: `process.stderr` is one. */
export interface Out {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
  on?(event: "resize", listener: () => void): unknown;
  off?(event: "resize", listener: () => void): unknown;
}

export interface Screen {
  /** Replaces the lines, which may have colours; none is wider than the terminal. */
  draw(lines: readonly string[]): void;
  /** A line that stays, above those that are drawn. */
  above(line: string): void;
  /** Takes the drawn lines away and gives the cursor back. */
  close(): void;
}

const [hide, show, eraseLine, eraseBelow] = ["\u001b[?25l", "\u001b[?25h", "\u001b[K", "\u001b[J"];

interface Host {
  once(event: string, listener: () => void): unknown;
  off(event: string, listener: () => void): unknown;
  listenerCount(event: string): number;
  kill(pid: number, signal: string): unknown;
  readonly pid: number;
  readonly stdout: Stream;
  readonly stderr: Stream;
}

/** A stream of Node, whose `write` takes an encoding and a callback as well. */
interface Stream {
  write(text: unknown, ...rest: readonly unknown[]): boolean;
  readonly isTTY?: boolean;
}

const host = (globalThis as { readonly process?: Partial<Host> }).process;
const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** @param redraw  called when the terminal has another width */
export function screen(out: Out, redraw: () => void): Screen {
  /** Cells of each line that is drawn now. */
  let drawn: readonly number[] = [];
  let hidden = false;
  /** Someone's text that does not end its line yet. */
  let open = false;
  const write = out.write.bind(out);

  const columns = (): number => Math.max(1, out.columns ?? 80);
  /** To the beginning of what is drawn. A terminal that became narrower has broken the lines: they take more rows. */
  const home = (): string => {
    const rows = drawn.reduce((sum, cells) => sum + Math.max(1, Math.ceil(cells / columns())), 0);
    return rows > 1 ? `\r\u001b[${rows - 1}A` : "\r";
  };
  const restore = (): void => {
    if (hidden) write(show);
    hidden = false;
  };
  const onSignal = signals.map((name) => ({
    name,
    listener: () => {
      restore();
      // Who listens decides what the signal does; where nobody does it ends the program, as it would without us.
      if (host?.listenerCount?.(name) === 0 && host.pid !== undefined) host.kill?.(host.pid, name);
    },
  }));
  const erase = (): void => {
    if (drawn.length > 0) write(`${home()}${eraseBelow}`);
    drawn = [];
  };
  /** Standard output and standard error, where they are the terminal that is drawn on. */
  const streams = [host?.stdout, host?.stderr].filter((stream) => stream?.isTTY === true && isOneOf(out));
  const taken: (() => void)[] = [];
  const share = (stream: Stream): void => {
    const own = Object.getOwnPropertyDescriptor(stream, "write");
    const through = stream.write.bind(stream);
    stream.write = (text, ...rest) => {
      erase();
      open = typeof text !== "string" || !text.endsWith("\n");
      return through(text, ...rest);
    };
    taken.push(() => {
      if (own) Object.defineProperty(stream, "write", own);
      else delete (stream as Partial<Stream>).write;
    });
  };
  const listen = (): void => {
    for (const stream of streams) if (stream) share(stream);
    host?.once?.("exit", restore);
    for (const { name, listener } of onSignal) host?.once?.(name, listener);
    out.on?.("resize", redraw);
  };
  const release = (): void => {
    host?.off?.("exit", restore);
    for (const { name, listener } of onSignal) host?.off?.(name, listener);
    out.off?.("resize", redraw);
    for (const giveBack of taken.splice(0)) giveBack();
  };
  let listening = false;

  return {
    draw(lines) {
      if (!listening) listen();
      listening = true;
      const room = columns() - 1;
      const cells = lines.map(cellsOf);
      const fitting = lines.map((line, i) => ((cells[i] ?? 0) <= room ? line : clipped(line, room)));
      // One write a frame, each line over the old one: nothing flickers.
      const frame = `${fitting.map((line) => line + eraseLine).join("\n")}${eraseBelow}`;
      write(`${hidden ? "" : hide}${open ? "\n" : home()}${frame}`);
      hidden = true;
      open = false;
      drawn = cells.map((count) => Math.min(count, room));
    },
    above(line) {
      erase();
      write(`${open ? "\n" : ""}${line}\n`);
      open = false;
    },
    close() {
      erase();
      restore();
      if (listening) release();
      listening = false;
    },
  };
}

const isOneOf = (out: unknown): boolean => out === host?.stdout || out === host?.stderr;

const colour = new RegExp(`${String.fromCharCode(27)}\\[[\\d;]*m`, "g");

/** The length of a line without its colours. */
export const cellsOf = (line: string): number => line.replaceAll(colour, "").length;

/** The first so many cells of a longer line; colours that are open at the cut are closed. */
function clipped(line: string, cells: number): string {
  let text = "";
  let room = cells;
  let at = 0;
  let coloured = false;
  for (const match of [...line.matchAll(colour), undefined]) {
    const piece = line.slice(at, match?.index).slice(0, room);
    text += piece;
    room -= piece.length;
    if (match === undefined || room === 0) break;
    coloured = true;
    text += match[0];
    at = match.index + match[0].length;
  }
  return coloured ? `${text}\u001b[0m` : text;
}
