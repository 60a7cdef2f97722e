/** Where a kernel comes from, in few words: the user's modules and lines, taken from the sites of its values. */

/** The module path and the line that kernels are told apart by. */
export interface SourcePlace {
  /** `blocks.3.mlp.up`; `blocks.*.mlp.up` where several differ in numbers alone. */
  readonly module: string | undefined;
  /** `model.ts:41`. */
  readonly line: string | undefined;
}

/** @param sites  as nodes have them: `app/model.ts:41:18 in blocks.3.mlp.up`, the one that says most first */
export function placeOf(sites: readonly string[]): SourcePlace {
  const parts = sites.map((site) => site.split(" in "));
  const modules = parts.flatMap(([, module]) => module ?? []);
  const lines = parts.flatMap(([line]) => /[^/\\]+:\d+(?=:\d+$)/.exec(line ?? "")?.[0] ?? []);
  return { module: oneOf(modules), line: oneOf(lines) };
}

/** The first of some names and how many others there are; those that differ in numbers alone are one. */
function oneOf(names: readonly string[]): string | undefined {
  const [first, ...others] = [...new Set(names)];
  if (first === undefined || others.length === 0) return first;
  const pattern = (name: string): string => name.replaceAll(/(?<=^|\.)\d+(?=\.|$)/g, "*");
  if (others.every((name) => pattern(name) === pattern(first))) return pattern(first);
  return `${first} +${others.length}`;
}
