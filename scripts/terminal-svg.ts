/** A captured terminal session as an SVG: the screen as it stands at the end, as text that can be selected. The picture of the
 *  README is made by
 *
 *    script -qec "npm start --silent" run.txt
 *    node scripts/terminal-svg.ts run.txt docs/images/run.svg --command "npm start" --columns 114
 *
 *  It knows what our own programs write: lines, carriage return, what erases a line or the rest of the screen, the cursor's way up, and
 *  the colours of the display (`north/train/src/reports/terminal.ts`). `--until TEXT` stops after the text's first frame. */
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { parseArgs } from "node:util";

interface Style {
  readonly bold: boolean;
  readonly dim: boolean;
  /** An SGR colour, 30 to 37; 39 is the default. */
  readonly colour: number;
}

interface Cell {
  readonly char: string;
  readonly style: Style;
}

const plain: Style = { bold: false, dim: false, colour: 39 };

function styled(style: Style, codes: readonly number[]): Style {
  let { bold, dim, colour } = style;
  for (const code of codes) {
    if (code === 0) ({ bold, dim, colour } = plain);
    else if (code === 1) bold = true;
    else if (code === 2) dim = true;
    else if (code === 22) bold = dim = false;
    else if ((code >= 30 && code <= 37) || code === 39) colour = code;
  }
  return { bold, dim, colour };
}

const escape = String.fromCharCode(27);

/** A control sequence, with its parameters and its final letter, or one character. */
const tokens = new RegExp(`${escape}\\[([\\d;?]*)([A-Za-z])|[\\s\\S]`, "gu");

/** The lines of the screen after the bytes were written to it. Whether the cursor is shown is of no interest.
 *  @throws RangeError for a control sequence that is not known */
function screen(text: string, columns: number): Cell[][] {
  const lines: Cell[][] = [[]];
  let style = plain;
  let row = 0;
  let column = 0;
  const down = (): void => {
    column = 0;
    if (++row === lines.length) lines.push([]);
  };
  // util-linux's `script` adds a line of its own at either end unless told to be quiet.
  const clean = text.replaceAll(/^Script (started|done) .*\n/gm, "");
  for (const [token, parameters = "", final] of clean.matchAll(tokens)) {
    const line = lines[row] ?? [];
    if (final === "m") style = styled(style, parameters.split(";").map(Number));
    else if (final === "K") line.length = parameters === "2" ? 0 : Math.min(line.length, column);
    else if (final === "J" && parameters === "") {
      line.length = Math.min(line.length, column);
      lines.length = row + 1;
    } else if (final === "A") row = Math.max(0, row - Number(parameters || 1));
    else if ((final === "h" || final === "l") && parameters === "?25") continue;
    else if (final !== undefined) throw new RangeError(`the control sequence ${JSON.stringify(token)} is not known`);
    else if (token === "\r") column = 0;
    else if (token === "\n") down();
    else {
      if (column === columns) down();
      const now = lines[row] ?? [];
      while (now.length < column) now.push({ char: " ", style: plain });
      now[column++] = { char: token, style };
    }
  }
  while (lines.length > 0 && lines.at(-1)?.length === 0) lines.pop();
  return lines;
}

const palette: Readonly<Record<number, string>> = {
  31: "#f47067",
  32: "#8ddb8c",
  33: "#daaa3f",
  34: "#6cb6ff",
  35: "#dcbdfb",
  36: "#76e3ea",
};
const escapes: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };
const escaped = (text: string): string => text.replaceAll(/[&<>]/g, (c) => escapes[c] ?? c);

/** Neighbours of one style as one `tspan`. */
function spans(cells: readonly Cell[]): string {
  const runs: { text: string; style: Style }[] = [];
  for (const { char, style } of cells) {
    const last = runs.at(-1);
    if (last && last.style === style) last.text += char;
    else runs.push({ text: char, style });
  }
  return runs
    .map(({ text, style: { bold, dim, colour } }) => {
      const fill = palette[colour] ?? (dim ? "#8a97a5" : undefined);
      const attributes = `${bold ? ' font-weight="bold"' : ""}${fill === undefined ? "" : ` fill="${fill}"`}`;
      return attributes === "" ? escaped(text) : `<tspan${attributes}>${escaped(text)}</tspan>`;
    })
    .join("");
}

function svg(lines: readonly Cell[][], columns: number): string {
  const [charWidth, lineHeight, margin, bar] = [8.4, 19, 18, 30];
  const width = Math.ceil(columns * charWidth + 2 * margin);
  const height = lines.length * lineHeight + 2 * margin + bar;
  const rows = lines.map((cells, i) =>
    cells.length === 0
      ? ""
      : `<text x="${margin}" y="${bar + margin + (i + 0.75) * lineHeight}" xml:space="preserve">${spans(cells)}</text>\n`,
  );
  const dots = ["#f47067", "#daaa3f", "#8ddb8c"].map(
    (fill, i) => `<circle cx="${margin + 5 + 18 * i}" cy="${bar / 2 + 3}" r="5.5" fill="${fill}"/>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">
<rect width="100%" height="100%" rx="8" fill="#1c2128"/>
${dots.join("")}
<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="14" fill="#cdd9e5">
${rows.join("")}</g>
</svg>
`;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { columns: { type: "string", default: "100" }, command: { type: "string" }, until: { type: "string" } },
});
const [source, target] = positionals;
const columns = Number(values.columns);
if (source === undefined || target === undefined || !Number.isSafeInteger(columns) || columns < 1) {
  console.error("node scripts/terminal-svg.ts CAPTURE.txt PICTURE.svg [--columns 100] [--command TEXT] [--until TEXT]");
  process.exit(2);
}
const typed =
  values.command === undefined ? "" : `${escape}[2m$${escape}[22m ${escape}[1m${values.command}${escape}[22m\n\n`;
const captured = readFileSync(source, "utf8").replaceAll("\r\n", "\n");
const from = values.until === undefined ? -1 : captured.indexOf(values.until);
const end = from === -1 ? captured.length : captured.indexOf(`${escape}[J`, from);
writeFileSync(target, svg(screen(typed + captured.slice(0, end), columns), columns));
