/** The reference of one entry of a package as a page of Markdown: by room, then by name, each export with its declaration, its text and
 *  its examples. */
import path from "node:path";
import type { Declared, Exports, Member } from "./exports.ts";

export interface PageOptions {
  /** `sinan`, `sinan/nn` */
  readonly entry: string;
  /** Where sources are looked up, relative to the page. */
  readonly source: (declared: Declared) => string;
  /** The room of an export: its heading. */
  readonly room: (declared: Declared) => string;
}

interface Entry {
  readonly name: string;
  readonly declared: Declared;
}

/** The page of an entry; exports of its namespaces have the namespace before their names. */
export function referencePage(exported: Exports, { entry, source, room }: PageOptions): string {
  const all = entriesOf(exported);
  const byName = [...all].sort((a, b) => a.name.localeCompare(b.name));
  const rooms = [...Map.groupBy(byName, ({ declared }) => room(declared))].sort(([a], [b]) => a.localeCompare(b));
  const anchor = anchors();
  anchor(entry);
  const names: string[] = [];
  const sections: string[] = [];
  for (const [room, entries] of rooms) {
    anchor(room);
    names.push(`- **${room}**: ${entries.map(({ name }) => `[${name}](#${anchor(name)})`).join(", ")}`);
    const parts = entries.map(({ name, declared }) => section(name, declared, source(declared)));
    sections.push(`## ${room}\n\n${parts.join("\n")}`);
  }
  return `# ${entry}\n\n\`import { … } from "${entry}"\`\n\n${names.join("\n")}\n\n${sections.join("\n")}`;
}

/** Flat, namespaces included; what another package declares is on that package's page. */
export function entriesOf(exported: Exports, prefix = ""): Entry[] {
  return [...exported].flatMap(([name, value]) => {
    if (value instanceof Map) return prefix === "" ? entriesOf(value, `${name}.`) : [];
    return "texts" in value ? [{ name: prefix + name, declared: value }] : [];
  });
}

/** Anchors of headings in their order, as GitHub makes them: `adamW` and `AdamW` differ by a number. */
function anchors(): (heading: string) => string {
  const taken = new Map<string, number>();
  return (heading) => {
    const plain = heading
      .toLowerCase()
      .replaceAll(/[^\w -]/g, "")
      .replaceAll(" ", "-");
    const count = taken.get(plain) ?? 0;
    taken.set(plain, count + 1);
    return count === 0 ? plain : `${plain}-${count}`;
  };
}

function section(name: string, { texts, doc, members, kind }: Declared, source: string): string {
  const code = texts.map((text) => text.replace(/^export /, "")).join("\n");
  const listed = members.filter(({ name }) => name !== "[symbol]");
  return [
    `### ${name}\n`,
    `\`\`\`ts\n${code}${kind === "class" || kind === "interface" ? (listed.length > 0 ? " { … }" : " {}") : ""}\n\`\`\`\n`,
    described(doc),
    listed.length > 0 ? `${listed.map(item).join("\n")}\n` : "",
    `<sub>[${path.posix.basename(source.replace(/#.*/, ""))}](${source})</sub>\n`,
  ]
    .filter((part) => part !== "")
    .join("\n");
}

function item({ text, doc }: Member): string {
  const signature = text
    .replaceAll(/\s+/g, " ")
    .replace(/;$/, "")
    .replace(/^readonly /, "");
  const said = described(doc).trimEnd().replaceAll("\n", "\n  ");
  return `- \`${signature.replaceAll("`", "'")}\`${said === "" ? "" : `  \n  ${said}`}`;
}

/** The text of a comment: its tags as lists and code. */
export function described(doc: string): string {
  const [text = "", ...tags] = doc.split(/^@(?=\w)/m);
  const parts = [formulas(linked(text.trim()))];
  const lists: Record<string, string[]> = {};
  for (const tag of tags) {
    const { 1: kind = "", 2: rest = "" } = /^(\w+)\s*([\s\S]*)$/.exec(tag) ?? [];
    const content = rest.trim();
    if (kind === "example") parts.push(`\`\`\`ts\n${content}\n\`\`\``);
    else if (kind === "param" || kind === "typeParam" || kind === "template") {
      const { 1: name = "", 2: about = "" } = /^(\S+)\s*([\s\S]*)$/.exec(content) ?? [];
      (lists["param"] ??= []).push(`- \`${name}\`: ${joined(about)}`);
    } else (lists[kind] ??= []).push(`- **${kind}** ${joined(content)}`);
  }
  const listed = Object.values(lists).flat();
  if (listed.length > 0) parts.splice(1, 0, listed.join("\n"));
  return `${parts.filter((part) => part !== "").join("\n\n")}\n`.replace(/^\n$/, "");
}

/** Lines that are set in are formulas or code. */
const formulas = (text: string): string =>
  text
    .split("\n\n")
    .map((part) => (part.split("\n").every((line) => line.startsWith("  ")) ? `\`\`\`text\n${part}\n\`\`\`` : part))
    .join("\n\n");

const joined = (text: string): string => linked(text.replaceAll(/\s*\n\s*/g, " "));

const linked = (text: string): string => text.replaceAll(/\{@link (\w+)[^}]*\}/g, "`$1`");
