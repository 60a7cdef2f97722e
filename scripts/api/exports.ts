/** What a module exports, and where each of it is declared: over sources or over the declarations built from them. The parser is Vite's. */
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { parseSync } from "vite";

/** A node of the syntax tree, as far as it is looked at here. */
interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [field: string]: unknown;
}

export interface Member {
  readonly name: string;
  /** Its declaration, without its comment. */
  readonly text: string;
  readonly doc: string;
}

export interface Declared {
  readonly kind: "function" | "class" | "interface" | "type" | "value";
  readonly file: string;
  /** Of the declaration in the file that was read. */
  readonly line: number;
  /** Overloads are several texts. Of a class or an interface: up to its body. */
  readonly texts: readonly string[];
  /** Inside of the comment, without its margin; empty if there is none. */
  readonly doc: string;
  readonly members: readonly Member[];
}

/** By name; `nn` of `export * as nn` is a map of its own. A name of another package is where it comes from. */
export type Exports = Map<string, Declared | Exports | { readonly from: string }>;

const kinds: Readonly<Record<string, Declared["kind"]>> = {
  FunctionDeclaration: "function",
  TSDeclareFunction: "function",
  ClassDeclaration: "class",
  TSInterfaceDeclaration: "interface",
  TSTypeAliasDeclaration: "type",
  VariableDeclaration: "value",
};

/** Reads modules, each once.
 *
 *  @param extension  `.ts` for sources, `.d.ts` for declarations: both name each other with `.ts` */
export function exportReader(extension: ".ts" | ".d.ts"): (file: string) => Exports {
  const read = new Map<string, Exports>();
  const exportsOf = (file: string): Exports => {
    const before = read.get(file);
    if (before) return before;
    const found: Exports = new Map();
    read.set(file, found);
    const module = parsed(file);
    for (const node of module.body) {
      if (node.type === "ExportAllDeclaration") {
        const from = target(file, node["source"]);
        const name = nameOf(node["exported"]);
        if (from === undefined) continue;
        if (name !== undefined) found.set(name, exportsOf(from));
        else for (const [key, value] of exportsOf(from)) if (!found.has(key)) found.set(key, value);
      } else if (node.type === "ExportNamedDeclaration") {
        const declaration = node["declaration"] as Node | null;
        if (declaration) {
          for (const name of namesIn(declaration))
            found.set(name, merged(found.get(name), module.declared(declaration, node, name)));
        } else {
          for (const specifier of node["specifiers"] as Node[]) {
            const [local, exported] = [nameOf(specifier["local"]), nameOf(specifier["exported"])];
            if (local === undefined || exported === undefined) continue;
            const value = node["source"] ? imported(file, node["source"], local) : inside(file, module, local);
            if (value !== undefined) found.set(exported, value);
          }
        }
      }
    }
    return found;
  };
  const target = (file: string, source: unknown): string | undefined => {
    const name = (source as { value: string }).value;
    if (!name.startsWith(".")) return undefined;
    const at = path.resolve(path.dirname(file), name.replace(/\.ts$/, extension));
    return existsSync(at) ? at : undefined;
  };
  const imported = (file: string, source: unknown, name: string) => {
    const from = target(file, source);
    return from === undefined ? { from: (source as { value: string }).value } : exportsOf(from).get(name);
  };
  /** A name that the module declares or imports. */
  const inside = (file: string, module: Module, name: string) => {
    const own = module.body.filter((node) => node.type in kinds && namesIn(node).includes(name));
    if (own.length > 0) return own.map((node) => module.declared(node, node, name)).reduce((a, b) => merged(a, b));
    for (const node of module.body) {
      if (node.type !== "ImportDeclaration") continue;
      for (const specifier of node["specifiers"] as Node[]) {
        if (nameOf(specifier["local"]) !== name) continue;
        const from = target(file, node["source"]);
        if (specifier.type === "ImportNamespaceSpecifier") return from === undefined ? undefined : exportsOf(from);
        return imported(file, node["source"], nameOf(specifier["imported"]) ?? name);
      }
    }
    return undefined;
  };
  return exportsOf;
}

/** A type and a value of one name, or overloads. */
function merged(a: ReturnType<Exports["get"]>, b: Declared): Declared {
  if (a === undefined || a instanceof Map || !("texts" in a)) return b;
  const main = a.kind === "type" || a.kind === "interface" ? b : a;
  return { ...main, texts: [...a.texts, ...b.texts], doc: a.doc || b.doc, members: [...a.members, ...b.members] };
}

interface Module {
  readonly body: readonly Node[];
  /** @param whole  the statement, with its `export`: what a comment stands before */
  declared(node: Node, whole: Node, name: string): Declared;
}

function parsed(file: string): Module {
  const text = readFileSync(file, "utf8");
  const { program, comments, errors } = parseSync(file, text, { lang: file.endsWith(".d.ts") ? "dts" : "ts" });
  if (errors.length > 0) throw new SyntaxError(`${file}: ${errors[0]?.message ?? ""}`);
  const docs = comments.filter(({ type, value }) => type === "Block" && value.startsWith("*"));
  const docBefore = (start: number): string => {
    const last = docs.findLast(({ end }) => end <= start);
    return last && /^\s*$/.test(text.slice(last.end, start)) ? unmargined(last.value) : "";
  };
  return {
    body: program.body as unknown as readonly Node[],
    declared(node, whole, name) {
      const body = bodyOf(node);
      const end = body && node.type !== "TSTypeAliasDeclaration" ? body.start : node.end;
      return {
        kind: kinds[node.type] ?? "value",
        file,
        line: text.slice(0, whole.start).split("\n").length,
        texts: [
          text
            .slice(node.start, end)
            .replace(/^declare /, "")
            .trim(),
        ],
        doc: docBefore(whole.start),
        members: membersOf(node, name).map((member) => ({
          name: nameOf(member["key"]) ?? (member.type.includes("Construct") ? "new" : "call"),
          text: text.slice(member.start, bodyOf(member)?.start ?? member.end).trim(),
          doc: docBefore(member.start),
        })),
      };
    },
  };
}

const bodyOf = (node: Node): Node | undefined => {
  const body = (node["body"] ?? (node["value"] as Node | null | undefined)?.["body"]) as Node | null | undefined;
  return body ?? undefined;
};

function membersOf(node: Node, _name: string): readonly Node[] {
  if (node.type !== "ClassDeclaration" && node.type !== "TSInterfaceDeclaration") return [];
  const all = ((node["body"] as Node)["body"] ?? []) as Node[];
  return all.filter(
    ({ key, accessibility }) => accessibility !== "private" && (key as Node | undefined)?.type !== "PrivateIdentifier",
  );
}

const nameOf = (node: unknown): string | undefined => {
  const { name, value, type } = (node ?? {}) as { name?: string; value?: unknown; type?: string };
  if (type === "MemberExpression") return "[symbol]";
  return name ?? (typeof value === "string" ? value : undefined);
};

function namesIn(node: Node): string[] {
  if (node.type !== "VariableDeclaration") return [nameOf(node["id"]) ?? ""];
  return (node["declarations"] as Node[]).flatMap(({ id }) => {
    const pattern = id as Node;
    if (pattern.type !== "ObjectPattern") return [nameOf(pattern) ?? ""];
    return (pattern["properties"] as Node[]).map(({ value }) => nameOf(value) ?? "");
  });
}

/** The text inside of a comment. */
const unmargined = (comment: string): string =>
  comment
    .slice(1)
    .split("\n")
    .map((line) => line.replace(/^\s*\* {0,2}/, ""))
    .join("\n")
    .trim();
