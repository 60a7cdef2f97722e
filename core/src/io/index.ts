/** Files that survive: safetensors, storage, checkpoints. */

export * from "./checkpoint.ts";
export {
  type Chunks,
  fileError,
  type FileLock,
  type Files,
  type FileStat,
  type OpenFile,
  joinPath,
  parentPath,
  baseName,
  randomAccess,
  replaceFile,
} from "./files.ts";
export { type Json, parseJson } from "./json.ts";
export { type Fault, lockedError, memoryFiles, type MemoryFiles, PowerLoss, type StorageStep } from "./memory-files.ts";
export * from "./safetensors.ts";
export { type Sha256, sha256, sha256Hex } from "./sha256.ts";
