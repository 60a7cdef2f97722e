/** `defineConfig`, for `sinan.config.ts`: the settings of each command, with the names and types of its flags. */
import type { CommandName, commands } from "./commands.ts";
import type { Flags, Values } from "./flags.ts";

type Camel<S extends string> = S extends `${infer A}-${infer B}` ? `${A}${Capitalize<Camel<B>>}` : S;

type SettingsOf<F extends Flags> = {
  readonly [K in Exclude<keyof F & string, "config" | "help"> as Camel<K>]?:
    | Values<F>[K]
    | (F[K] extends { kind: "flag" } ? boolean : never);
};

/** Settings by command; flags in camel case. */
export type Configuration = {
  readonly [N in CommandName]?: SettingsOf<Awaited<ReturnType<(typeof commands)[N]["load"]>>["flags"]>;
};

/** The settings as they are, checked by their types.
 *
 *  @example
 *  // sinan.config.ts
 *  export default defineConfig({ train: { steps: 300, checkpointEvery: 50 }, generate: { topP: 0.9 } }); */
export const defineConfig = (configuration: Configuration): Configuration => configuration;
