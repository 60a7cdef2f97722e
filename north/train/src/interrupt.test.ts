import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

/** A program that takes ten seconds to stop. */
const slow = (options = ""): string => `
  import { onInterrupt } from ${JSON.stringify(new URL("interrupt.ts", import.meta.url).href)};
  const stop = onInterrupt(console.log, {${options}});
  stop.signal.addEventListener("abort", () => setTimeout(() => process.exit(0), 10000));
  setInterval(() => {}, 1000);
  console.log("ready");
`;

async function started(options = "") {
  const child = spawn(process.execPath, ["--input-type=module", "--eval", slow(options)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const said = async (): Promise<string> => String(((await once(child.stdout, "data")) as [Buffer])[0]).trim();
  assert.equal(await said(), "ready");
  return { child, said };
}

test("the first signal asks, the second ends the program at once with 130", async () => {
  const { child, said } = await started();
  child.kill("SIGINT");
  assert.match(await said(), /^stopping after this step/);
  await sleep(400);
  child.kill("SIGINT");
  const begin = performance.now();
  assert.deepEqual(await once(child, "exit"), [130, null]);
  assert.ok(performance.now() - begin < 5000);
});

test("one key that comes twice, as under npm, asks only once", async () => {
  const { child, said } = await started();
  child.kill("SIGINT");
  assert.match(await said(), /^stopping after this step/);
  child.kill("SIGINT");
  await sleep(200);
  assert.equal(child.exitCode, null, "still stopping");
  child.kill("SIGKILL");
  await once(child, "exit");
});

test("SIGTERM has a deadline, after which the program ends with 143 and says so", async () => {
  const { child, said } = await started("deadlineSeconds: 0.4");
  child.kill("SIGTERM");
  assert.match(await said(), /^SIGTERM: stopping after this step, within 0\.4 s$/);
  const exit = once(child, "exit");
  assert.match(await said(), /^0\.4 s after SIGTERM the step is not done and saved/);
  assert.deepEqual(await exit, [143, null]);
});
