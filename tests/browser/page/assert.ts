/** What stands in for `node:assert/strict` in a page: the assertions that the tests here use, as strict as Node's. */

export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

type Matcher = RegExp | (new (...args: never[]) => unknown) | ((error: unknown) => unknown) | object;

const shown = (value: unknown): string => {
  const text = spelled(value);
  return text.length > 2000 ? `${text.slice(0, 2000)} …` : text;
};

function spelled(value: unknown): string {
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "string") return JSON.stringify(value);
  if (Object.is(value, -0)) return "-0";
  if (value instanceof Error) return `[${value.name}: ${value.message}]`;
  if (value instanceof Map || value instanceof Set)
    return `${value.constructor.name} {${[...value].map(spelled).join(", ")}}`;
  if (Array.isArray(value)) return `[${value.map(spelled).join(", ")}]`;
  if (ArrayBuffer.isView(value) && Symbol.iterator in value)
    return `${value.constructor.name} [${[...(value as unknown as Iterable<unknown>)].map(spelled).join(", ")}]`;
  if (typeof value === "object" && value !== null)
    return `{ ${Object.entries(value)
      .map(([key, of]) => `${key}: ${spelled(of)}`)
      .join(", ")} }`;
  return String(value);
}

function fail(message: string | Error | undefined, otherwise: () => string): never {
  if (message instanceof Error) throw message;
  throw new AssertionError(message === undefined ? otherwise() : `${message}\n${otherwise()}`);
}

/** Equality of `assert.deepStrictEqual`: prototypes, own enumerable keys, elements by `Object.is`. */
function same(a: unknown, b: unknown, seen: readonly (readonly [unknown, unknown])[] = []): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  if (seen.some(([x, y]) => x === a && y === b)) return true;
  const within = [...seen, [a, b] as const];
  if (a instanceof Set && b instanceof Set)
    return a.size === b.size && [...a].every((x) => b.has(x) || [...b].some((y) => same(x, y, within)));
  if (a instanceof Map && b instanceof Map)
    return a.size === b.size && [...a].every(([key, x]) => b.has(key) && same(x, b.get(key), within));
  if (a instanceof Error && b instanceof Error && (a.message !== b.message || a.name !== b.name)) return false;
  if (a instanceof ArrayBuffer && b instanceof ArrayBuffer) return same(new Uint8Array(a), new Uint8Array(b));
  if (a instanceof RegExp || a instanceof Date) return String(a) === String(b);
  if (ArrayBuffer.isView(a) && ArrayBuffer.isView(b)) {
    const [x, y] = [a, b] as unknown as readonly [ArrayLike<unknown>, ArrayLike<unknown>];
    if (x.length !== y.length) return false;
    for (let i = 0; i < x.length; i++) if (!Object.is(x[i], y[i])) return false;
    return true;
  }
  const [keys, others] = [Reflect.ownKeys(a), Reflect.ownKeys(b)];
  const isSeen = (of: object) => (key: string | symbol) => Object.prototype.propertyIsEnumerable.call(of, key);
  const [mine, theirs] = [keys.filter(isSeen(a)), others.filter(isSeen(b))];
  return (
    mine.length === theirs.length &&
    mine.every((key) => Object.hasOwn(b, key) && same(Reflect.get(a, key), Reflect.get(b, key), within))
  );
}

function checkError(error: unknown, expected: Matcher | string | undefined): void {
  if (expected === undefined || typeof expected === "string") return;
  if (expected instanceof RegExp) {
    if (!expected.test(String(error)))
      throw new AssertionError(`${String(error)} does not match ${expected}`, { cause: error });
    return;
  }
  if (typeof expected === "function") {
    const isClass = expected.prototype !== undefined && (expected === Error || expected.prototype instanceof Error);
    if (isClass) {
      if (!(error instanceof expected))
        throw new AssertionError(`expected a ${expected.name}, got ${String(error)}`, { cause: error });
    } else if ((expected as (error: unknown) => unknown)(error) !== true)
      throw new AssertionError(`the validation of ${String(error)} did not return true`, { cause: error });
    return;
  }
  for (const [key, value] of Object.entries(expected)) {
    const own: unknown = Reflect.get(error as object, key);
    const isRight = value instanceof RegExp && typeof own === "string" ? value.test(own) : same(own, value);
    if (!isRight)
      throw new AssertionError(`${key} of the error is ${shown(own)}, not ${shown(value)}`, { cause: error });
  }
}

function ok(value: unknown, message?: string | Error): asserts value {
  if (!value) fail(message, () => `${shown(value)} is not truthy`);
}

const assert = Object.assign((value: unknown, message?: string | Error): asserts value => ok(value, message), {
  ok,
  AssertionError,
  fail(message: string | Error = "failed"): never {
    throw message instanceof Error ? message : new AssertionError(message);
  },
  equal(actual: unknown, expected: unknown, message?: string | Error) {
    if (!Object.is(actual, expected)) fail(message, () => `${shown(actual)} is not ${shown(expected)}`);
  },
  notEqual(actual: unknown, expected: unknown, message?: string | Error) {
    if (Object.is(actual, expected)) fail(message, () => `both are ${shown(actual)}`);
  },
  deepEqual(actual: unknown, expected: unknown, message?: string | Error) {
    if (!same(actual, expected)) fail(message, () => `${shown(actual)} is not ${shown(expected)}`);
  },
  notDeepEqual(actual: unknown, expected: unknown, message?: string | Error) {
    if (same(actual, expected)) fail(message, () => `both are ${shown(actual)}`);
  },
  match(text: string, pattern: RegExp, message?: string | Error) {
    if (!pattern.test(text)) fail(message, () => `${shown(text)} does not match ${pattern}`);
  },
  doesNotMatch(text: string, pattern: RegExp, message?: string | Error) {
    if (pattern.test(text)) fail(message, () => `${shown(text)} matches ${pattern}`);
  },
  throws(body: () => unknown, expected?: Matcher | string, message?: string) {
    let error: unknown;
    try {
      body();
    } catch (cause) {
      error = cause;
      return checkError(error, expected);
    }
    fail(message ?? (typeof expected === "string" ? expected : undefined), () => "nothing was thrown");
  },
  doesNotThrow(body: () => unknown) {
    body();
  },
  async rejects(work: Promise<unknown> | (() => Promise<unknown>), expected?: Matcher | string, message?: string) {
    try {
      await (typeof work === "function" ? work() : work);
    } catch (error) {
      return checkError(error, expected);
    }
    fail(message ?? (typeof expected === "string" ? expected : undefined), () => "it was not rejected");
  },
});

export default assert;
