/** Directories of runs: a new one for a new run, the right one for a run that goes on. Nothing that is there is overwritten. */
import { baseName, type Checkpoint, CheckpointError, type Files, joinPath, latestCheckpoint } from "sinan";

/** Where runs go that are not told where. */
const home = "runs";

/** `moby-dick-llama-tiny` from the data's path and the model's name. */
export function runName(data: string, model: string): string {
  const stem = baseName(data).replace(/\.[^.]*$/, "");
  return `${stem}-${model}`.replace(/[^\w.-]+/g, "-").replace(/^[.-]+/, "") || "run";
}

/** `runs/NAME`, or the first of `runs/NAME-2`, `runs/NAME-3` … that is not there. */
export async function freeDirectory(files: Files, name: string): Promise<string> {
  for (let n = 1; ; n++) {
    const path = joinPath(home, n === 1 ? name : `${name}-${n}`);
    if (!(await files.exists(path))) return path;
  }
}

/** The last of `runs/NAME`, `runs/NAME-2` …
 *  @throws CheckpointError if there is none */
export async function newestDirectory(files: Files, name: string): Promise<string> {
  const first = joinPath(home, name);
  if (!(await files.exists(first))) throw nothingThere(first);
  for (let n = 2, last = first; ; n++) {
    const path = joinPath(home, `${name}-${n}`);
    if (!(await files.exists(path))) return last;
    last = path;
  }
}

/** The newest checkpoint of a directory that was given for a new run or for one to resume. Null where a run may begin: also
 *  where one is to be resumed that was ended before its first checkpoint.
 *  @throws CheckpointError if there is a run in the way, or no directory to resume from */
export async function checkpointIn(
  files: Files,
  directory: string,
  resume: boolean,
  onWarning: (message: string) => void,
): Promise<Checkpoint | null> {
  if (!(await files.exists(directory))) {
    if (resume) throw nothingThere(directory);
    return null;
  }
  const latest = await latestCheckpoint(files, directory, { onWarning, ...(resume ? {} : { groups: [] }) });
  if (resume) {
    if (latest === null) onWarning(`${directory} has no checkpoint yet: the run begins at its first step`);
    return latest;
  }
  if (latest === null) return null;
  throw new CheckpointError(`${directory}: there is a run in this directory, at step ${latest.step}`, {
    hint: "Continue it with --resume (resume: true), or give another directory with --out (out).",
  });
}

const nothingThere = (directory: string): CheckpointError =>
  new CheckpointError(`${directory}: there is no run to resume`, {
    hint: "Start one without --resume, or give its directory with --out (out).",
  });
