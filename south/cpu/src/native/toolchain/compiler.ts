/** Finds a C compiler and asks what it is and what it knows of this processor: `--version`, its macros for `native`, and whether it
 *  makes a shared object of a few lines. What it says is kept in the cache, so that a warm start runs no process. */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { type Candidate, candidates } from "./candidates.ts";
import { keyOf } from "../store/entries.ts";
import { wordsOf } from "../store/file-layer.ts";
import { objectExtension, objectFault } from "./object-file.ts";
import type { Environment } from "../store/private-directory.ts";
import { processorText } from "./processor.ts";
import type { Found, Store, Workplace } from "../store/store.ts";
import { noSpaceIn, type Run, runProcess } from "./subprocess.ts";

/** What a compiler says of itself and of the processor. */
interface Facts {
  readonly kind: "gcc" | "clang";
  /** The first line of `--version`. */
  readonly version: string;
  /** What it defines by itself for this processor: `__AVX2__`, `__FMA__` ... */
  readonly macros: Readonly<Record<string, string>>;
  /** What lets it use all of this processor: `-march=native`, or nothing where it knows no such thing. */
  readonly flags: readonly string[];
}

/** A C compiler that can be built with. */
export interface Compiler extends Facts {
  /** The real path of the program. */
  readonly path: string;
  /** How it is called. */
  readonly command: readonly string[];
  /** The variables under which it is called. */
  readonly environment: Environment;
  /** Equal for compilers that make the same of the same code, as far as can be known. */
  readonly identity: string;
}

/** Why there is no compiler. */
export interface Refusal {
  /** Of the last one that was tried. */
  readonly refused: "none" | "too-old" | "timeout" | "killed" | "failed" | "garbage" | "other-target" | "no-space";
  /** For people, in one line. */
  readonly text: string;
}

export interface FindOptions {
  readonly store: Store;
  /** By default `process.env`: `SINAN_CC`, `PATH`. */
  readonly environment?: Environment;
  /** How long it may take to answer a question. */
  readonly timeoutMs?: number;
  /** Which processor the answers are for; by default this one. */
  readonly processor?: string;
}

/** Variables that change what compilers make of the same code. */
const steering =
  /^(CPATH|C_INCLUDE_PATH|LIBRARY_PATH|GCC_EXEC_PREFIX|COMPILER_PATH|LD_LIBRARY_PATH|SDKROOT|MACOSX_DEPLOYMENT_TARGET|CCC_OVERRIDE_OPTIONS|NIX_.*FLAGS.*|CCACHE_.*|GCC_SPECS|LD_PRELOAD)$/;

/** The variables a compiler is run under: its words are English, and it writes nothing that was not asked for. */
function quiet(environment: Environment): Environment {
  const { DEPENDENCIES_OUTPUT: _, SUNPRO_DEPENDENCIES: __, ...rest } = environment;
  return { ...rest, LC_ALL: "C" };
}

/** The first of the candidates that is new enough and works.
 *
 *  @returns the compiler, or in words for people why there is none; it does not throw for what a compiler does
 *  @example const found = await findCompiler({ store });
 *  if ("refused" in found) console.warn(found.text); */
export async function findCompiler({
  store,
  environment: given = process.env,
  timeoutMs = 10_000,
  processor = processorText(),
}: FindOptions): Promise<Compiler | Refusal> {
  const environment = quiet(given);
  const own = given["SINAN_CC"]?.trim();
  const refusals: Refusal[] = [];
  for (const candidate of candidates(environment)) {
    const facts = await factsOf(candidate, store, { environment, timeoutMs, processor });
    if ("refused" in facts) {
      refusals.push({ ...facts, text: `${candidate.command.join(" ")} ${facts.text}` });
      continue;
    }
    const { path, command } = candidate;
    const identity = keyOf(facts, command, candidate.files, steeringOf(environment));
    return { ...facts, path, command, environment, identity };
  }
  const text = refusals.map(({ text }) => text).join("; ");
  const none = own
    ? `SINAN_CC is ${JSON.stringify(own)}, and there is no such program`
    : "there is none of cc, gcc and clang on the path; SINAN_CC may name one";
  return { refused: refusals.at(-1)?.refused ?? "none", text: `no C compiler: ${text || none}` };
}

const steeringOf = (environment: Environment): (readonly [string, string | undefined])[] =>
  Object.entries(environment)
    .filter(([name]) => steering.test(name))
    .sort(([a], [b]) => (a < b ? -1 : 1));

interface Asking {
  readonly environment: Environment;
  readonly timeoutMs: number;
  readonly processor: string;
}

/** From the cache, or else asked. Of refusals only the ones that took long are kept, and not for long: what hangs today may answer
 *  tomorrow. */
async function factsOf(candidate: Candidate, store: Store, asking: Asking): Promise<Facts | Refusal> {
  const { command, files } = candidate;
  const asked = [command, files, steeringOf(asking.environment), asking.processor] as const;
  const [key, silence] = [keyOf("compiler", ...asked), keyOf("silence", ...asked, asking.timeoutMs)];
  const [known, silent] = store.find([key, silence]);
  if (known) return read<Facts>(known);
  const before = silent && read<Silence>(silent);
  if (before && Math.abs(Date.now() - before.at) < day)
    return {
      refused: "timeout",
      text: `${before.text} (found within the last day; to have it asked again, remove ${silent.path})`,
    };
  for (;;) {
    const place = store.workplace();
    try {
      const facts = await ask(command, place.path, asking);
      if (!("refused" in facts)) {
        await remember(store, place, key, facts);
        return facts;
      }
      if (facts.refused === "timeout")
        await remember(store, place, silence, { at: Date.now(), text: facts.text } satisfies Silence);
      if (facts.refused !== "no-space" || !place.isCache) return facts;
      store.giveUp(facts.text); // and once more elsewhere
    } finally {
      place.close();
    }
  }
}

/** That a compiler did not answer, and when that was, in milliseconds since the epoch. */
interface Silence {
  readonly at: number;
  readonly text: string;
}

const day = 86_400_000;

const read = <T>({ bytes }: Found): T => JSON.parse(Buffer.from(bytes).toString("utf8")) as T;

async function remember(store: Store, place: Workplace, key: string, facts: Facts | Silence): Promise<void> {
  const bytes = Buffer.from(JSON.stringify(facts));
  const file = path.join(place.path, "facts.json");
  try {
    store.files.writeFileSync(file, bytes);
    await store.keep(place, file, bytes, { name: "compiler", key, extension: "json" });
  } catch (error) {
    store.giveUp(error);
  }
}

async function ask(command: readonly string[], directory: string, asking: Asking): Promise<Facts | Refusal> {
  const { environment, timeoutMs } = asking;
  const run = (...args: string[]): Promise<Run> =>
    runProcess([...command, ...args], {
      environment: { ...environment, TMPDIR: directory },
      timeoutMs,
      cwd: directory,
    });
  const version = await run("--version");
  if (!isGood(version)) return refusalOf(version, asking);
  let answer: Run = version;
  for (const flags of command.some(isTarget) ? [[]] : [...nativeFlags(), []]) {
    answer = await run(...flags, "-dM", "-E", "-x", "c", process.platform === "win32" ? "NUL" : "/dev/null");
    if (answer.end === "timeout") break;
    if (!isGood(answer)) continue;
    const macros = macrosOf(answer.stdout);
    const refusal = judge(macros);
    if (refusal) return refusal;
    const trial = await tryToBuild(run, directory, flags, asking);
    const kind = "__clang__" in macros ? "clang" : "gcc";
    return trial ?? { kind, version: version.stdout.split("\n")[0]?.trim() ?? "", macros, flags };
  }
  return refusalOf(answer, asking);
}

/** Who names a processor in the command has it, and no more of this one. */
const isTarget = (word: string): boolean => /^-m(arch|cpu)=/.test(word);

/** How the whole of the processor is asked for. */
const nativeFlags = (): string[][] =>
  /^(arm|ppc)/.test(process.arch) ? [["-mcpu=native"], ["-march=native"]] : [["-march=native"], ["-mcpu=native"]];

const isGood = ({ end, code }: Run): boolean => end === "exit" && code === 0;

function refusalOf(run: Run, { timeoutMs }: Asking): Refusal {
  const { end, code, signal, stderr } = run;
  const full = noSpaceIn(run);
  if (full !== undefined) return { refused: "no-space", text: full };
  const words = stderr.trim().split("\n")[0]?.slice(0, 200) ?? "";
  if (end === "timeout") return { refused: "timeout", text: `does not answer within ${timeoutMs / 1000} s` };
  if (end === "signal") return { refused: "killed", text: `was ended by ${signal}` };
  if (end === "spawn") return { refused: "failed", text: `cannot be started: ${words}` };
  return { refused: "failed", text: `ended with code ${code}${words === "" ? "" : `: ${words}`}` };
}

const macrosOf = (text: string): Record<string, string> =>
  Object.fromEntries(
    [...text.matchAll(/^#define (\w+)(?: (.*))?$/gm)].map(({ 1: name = "", 2: value = "" }) => [name, value.trim()]),
  );

/** The oldest that are taken. Apple counts its own versions: its 12 comes of LLVM's 10. */
const oldest = { gcc: 9, clang: 9, "Apple clang": 12 };

const targets: Readonly<Record<string, string>> = {
  x64: "__x86_64__",
  arm64: "__aarch64__",
  riscv64: "__riscv",
  ppc64: "__powerpc64__",
  s390x: "__s390x__",
  loong64: "__loongarch64",
};
const systems: Partial<Record<NodeJS.Platform, string>> = {
  linux: "__linux__",
  darwin: "__APPLE__",
  win32: "_WIN32",
  freebsd: "__FreeBSD__",
};

/** Why a compiler with these macros will not do. */
function judge(macros: Readonly<Record<string, string>>): Refusal | undefined {
  const kind = !("__clang__" in macros) ? "gcc" : "__apple_build_version__" in macros ? "Apple clang" : "clang";
  const number = Number(macros[kind === "gcc" ? "__GNUC__" : "__clang_major__"]);
  if (!Number.isSafeInteger(number))
    return { refused: "garbage", text: "answers with something that no gcc or clang says" };
  if (number < oldest[kind])
    return { refused: "too-old", text: `is ${kind} ${number}, which is too old: ${oldest[kind]} or newer is needed` };
  const missing = [targets[process.arch], systems[process.platform]].find(
    (one) => one !== undefined && !(one in macros),
  );
  if (missing !== undefined || macros["__SIZEOF_POINTER__"] !== "8")
    return {
      refused: "other-target",
      text: `builds for another machine than this one, which is ${process.platform} on ${process.arch}`,
    };
  return undefined;
}

const trialText = `#include <math.h>
#include <stdint.h>
#include <string.h>
typedef float lanes __attribute__((vector_size(16)));
void trial(float *x, int64_t n) { lanes a; memcpy(&a, x, 16); a = a * a + (float)n; memcpy(x, &a, 16); x[0] = sqrtf(x[0]); }
`;

/** Whether the C library's headers and the linker are there too. */
async function tryToBuild(
  run: (...args: string[]) => Promise<Run>,
  directory: string,
  flags: readonly string[],
  asking: Asking,
): Promise<Refusal | undefined> {
  try {
    writeFileSync(path.join(directory, "trial.c"), trialText);
  } catch (error) {
    return { refused: "no-space", text: wordsOf(error) };
  }
  const output = `trial.${objectExtension}`;
  const built = await run(...flags, "-shared", "-fPIC", "-o", output, "trial.c", "-lm");
  if (!isGood(built)) {
    const refusal = refusalOf(built, asking);
    if (refusal.refused === "no-space") return refusal;
    return { ...refusal, text: `does not build a few lines of C: it ${refusal.text}` };
  }
  const fault = faultAt(path.join(directory, output));
  return fault === undefined
    ? undefined
    : { refused: "garbage", text: `made of a few lines of C what cannot be loaded: ${fault}` };
}

function faultAt(file: string): string | undefined {
  try {
    return objectFault(readFileSync(file));
  } catch {
    return "there is nothing";
  }
}
