/** The errors that Sinan throws. Each says what was expected, what came and what to do; `name` is the class's own, so a
 *  caller may branch on `error.name` across copies of the package. */

export interface ErrorDetail {
  /** What to do about it, appended on a line of its own. */
  readonly hint?: string | undefined;
  readonly cause?: unknown;
}

/** What every error of Sinan is: its message says what was expected, what came and what to do. */
export class SinanError extends Error {
  constructor(message: string, detail: ErrorDetail = {}) {
    super(
      detail.hint ? `${message}\n  ${detail.hint}` : message,
      detail.cause === undefined ? {} : { cause: detail.cause },
    );
    this.name = new.target.name;
  }
}

/** Dimensions that do not fit: of operands, of a weight, of an index. */
export class ShapeError extends SinanError {}

/** A dtype that an operation, a file or a device does not take. */
export class DTypeError extends SinanError {}

/** An argument outside its documented range, or of the wrong kind. */
export class ArgumentError extends SinanError {}

/** A tree (of parameters, of arguments) whose keys differ from the expected ones. */
export class TreeError extends SinanError {}

/** A tensor used after `dispose`, or after it was donated. */
export class DisposedError extends SinanError {}

/** A value that is not known while a function is being traced was asked for. */
export class TraceError extends SinanError {}

/** IR that breaks a rule of its level. */
export class VerifyError extends SinanError {}

/** Text that is not IR, or a file that is not what it should be: truncated, hostile, of another format. */
export class FormatError extends SinanError {}

/** A file that cannot be read or written: missing, full disk, no permission. */
export class FileError extends SinanError {
  /** The path as it was given, and the system's code (`ENOSPC`, `EACCES`, `EROFS`, `ENOENT` ...), where known. */
  readonly path: string | undefined;
  readonly code: string | undefined;

  constructor(message: string, detail: ErrorDetail & { path?: string; code?: string } = {}) {
    super(message, detail);
    this.path = detail.path;
    this.code = detail.code;
  }
}

/** A checkpoint that is whole but belongs to something else. */
export class CheckpointError extends SinanError {}

/** A schedule option that would change the meaning of the kernel, or does not apply to it. */
export class ScheduleError extends SinanError {}

/** No such device, driver or codegen, or one that cannot be opened here. */
export class DeviceError extends SinanError {}

/** The device was lost; everything that depended on it is poisoned. */
export class DeviceLostError extends DeviceError {}

/** A kernel trapped. */
export class KernelError extends DeviceError {}

/** More memory was asked for than the budget or the device has. */
export class OutOfMemoryError extends DeviceError {}

/** A C compiler that did not make of a unit of code what it should have. */
export class ToolchainError extends DeviceError {
  /** What happened: it refused the code, ran too long, was killed, could not be started, had no room for its files, left nothing or no
   *  object file behind. */
  readonly reason: "refused" | "timeout" | "killed" | "not-started" | "no-space" | "no-output" | "garbage";
  /** The name of the unit, and the first lines of what the compiler said. */
  readonly unit: string;
  readonly log: string;

  constructor(message: string, detail: ErrorDetail & Pick<ToolchainError, "reason" | "unit" | "log">) {
    super(message, detail);
    this.reason = detail.reason;
    this.unit = detail.unit;
    this.log = detail.log;
  }
}

/** Training met NaN or infinity before an update; the update was not made. */
export class NonFiniteError extends SinanError {}
