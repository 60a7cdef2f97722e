/** Opens the native tier: a compiler, what calls its code, and the threads that run it; or says in one line what is missing. */

import { availableParallelism } from "node:os";
import process from "node:process";
import { type Building, type HardwareModel, register, ToolchainError } from "sinan/south";
import type { Tier, TierGround } from "../device.ts";
import { build, type Built, type Progress, type Unit } from "./toolchain/build.ts";
import { cFlags } from "./render/c.ts";
import { Calls } from "./calls.ts";
import { cCodegen, codegenName } from "./render/codegen.ts";
import { Commanders } from "./commander.ts";
import { type Compiler, findCompiler } from "./toolchain/compiler.ts";
import { cacheLevels } from "./facts.ts";
import { type Ffi, findFfi } from "./ffi.ts";
import { type NativeHardware, nativeHardware } from "./toolchain/hardware.ts";
import { type Builder, NativeKernels } from "./kernels.ts";
import { trialText, withTrial } from "./toolchain/matrix-trial.ts";
import { openPool, type Pool } from "./pool/pool.ts";
import { poolText } from "./pool/pool-text.ts";
import { isOpen, scalableText, vectorBits } from "./toolchain/scalable.ts";
import { sourcesHash } from "./sources.ts";
import { openStore, type Store } from "./store/store.ts";
import { Texts } from "./texts.ts";

/** What the whole process has once. */
interface Found {
  readonly store: Store;
  readonly texts: Texts;
  readonly compiler: Compiler;
  readonly ffi: Ffi;
  readonly facts: NativeHardware;
  /** The shared object of the threads. */
  readonly pool: string;
}

let found: Promise<Found | string> | undefined;

/** The flags of every unit. Schedules say what is unrolled and what is a vector; a compiler that does more of it only takes longer. */
const flagsOf = ({ flags }: NativeHardware): string[] => [...cFlags, "-O2", ...flags];

/** Finds what the tier needs; a string is why it cannot be had. */
async function find(): Promise<Found | string> {
  const ffi = await findFfi();
  if ("reason" in ffi) return ffi.reason;
  try {
    return await findIn(openStore({ onWarning: warn }), ffi);
  } catch (error) {
    return lineOf(error);
  }
}

/** The same with what is built in a store. */
async function findIn(store: Store, ffi: Ffi): Promise<Found | string> {
  const compiler = await findCompiler({ store });
  if ("refused" in compiler) return compiler.text;
  const units: Unit[] = [{ name: "threads", text: poolText }];
  if (isOpen(compiler.macros)) units.push({ name: "scalable", text: scalableText });
  const [built, scalable] = await build(compiler, units, { store, flags: ["-std=gnu11", "-O2", "-pthread"] });
  if (!built) return "the threads' program was not built";
  try {
    ffi.open(built.path);
  } catch (error) {
    if (store.directory === undefined) throw error;
    // Homes may lie on file systems that forbid programs, where temporary files do not.
    store.giveUp(error);
    return findIn(openStore({ environment: { ...process.env, SINAN_CACHE_MB: "0" } }), ffi);
  }
  const bits = scalable && vectorBits(ffi.open(scalable.path));
  const plain = nativeHardware(new Map(Object.entries(compiler.macros)), bits);
  const facts = await withTrial(plain, async () => {
    const trial = [{ name: "matrix", text: trialText }];
    const [tried] = await build(compiler, trial, { store, flags: flagsOf(plain) });
    return ffi.open((tried as Built).path);
  });
  return { store, texts: new Texts(store, sourcesHash()), compiler, ffi, facts, pool: built.path };
}

const lineOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).replaceAll(/\s*\n\s*/g, " ");

const warn = (line: string): void => void process.stderr.write(`sinan: ${line}\n`);

/** What the native tier is, over that of WebAssembly. */
function hardwareOf(plain: HardwareModel, { facts, compiler }: Found): HardwareModel {
  const { lanes, vectorRegisters, features } = facts;
  return {
    ...plain,
    tier: "native",
    codegens: [codegenName],
    compute: plain.compute.map((unit) =>
      unit.unit === "vector" ? { ...unit, lanes: unit.dtype === "f64" ? Math.max(1, lanes / 2) : lanes } : unit,
    ),
    memory: cacheLevels(plain.memory),
    features: [`${compiler.kind} ${compiler.version}`, ...features],
    limits: { ...plain.limits, vectorRegisters },
  };
}

/** The tier over a device's memory; a string is why it cannot be had. */
export async function openNative({
  hardware,
  arenas,
  workers,
  ground,
  options,
  use,
}: TierGround): Promise<Tier | string> {
  const ready = await (found ??= find());
  if (typeof ready === "string") return ready;
  register({ codegen: { ...cCodegen, cached: ready.texts.cached } });
  const threads = options.shared ? options.threads : 1;
  let pool: Pool;
  try {
    pool = openPool(ready.ffi, ready.pool, { threads });
  } catch (error) {
    return lineOf(error);
  }
  const commanders = new Commanders();
  const kernels = new NativeKernels(builderOf(ready), 4 * availableParallelism(), (cause) => {
    warn(`the processor goes on in WebAssembly: ${lineOf(cause)}`);
    use(undefined);
  });
  return {
    hardware: hardwareOf(hardware, ready),
    workers: new Calls(arenas, pool, workers, ground, commanders, { threads, grain: options.grain }),
    codegen: codegenName,
    load: (artifact) => kernels.load(artifact),
    hasMade: (commands) => commanders.of(commands) !== undefined,
    commander: (launches, executables) => commanders.commander(launches, executables),
    get tell() {
      return kernels.tell;
    },
    set tell(listener: ((building: Building) => void) | undefined) {
      kernels.tell = listener;
    },
  };
}

/** Builds with what was found, and opens what was built. A compiler that fails over its own optimizations is asked once more for few of
 *  them: the code is slower then, and its numbers are the same. */
const builderOf =
  ({ store, texts, compiler, ffi, facts }: Found): Builder =>
  async (units, onProgress) => {
    const named = units.map(({ name, text }) => ({ name: name.replaceAll(/\W/g, "_").slice(0, 64), text }));
    const onBuilt = ({ done, total }: Progress): void =>
      onProgress({ what: `kernels with ${compiler.kind}`, done, of: total });
    const all = (flags: readonly string[]): Promise<Built[]> =>
      build(compiler, named, { store, flags, onProgress: onBuilt });
    const building = all(flagsOf(facts));
    texts.save(); // while compilers work, this thread has time
    const built = await building.catch((error: unknown) => {
      if (error instanceof ToolchainError && (error.reason === "refused" || error.reason === "killed"))
        return all([...flagsOf(facts), "-O1"]);
      throw error;
    });
    return built.map(({ path }) => ffi.open(path));
  };
