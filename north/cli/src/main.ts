#!/usr/bin/env node
/** The program `sinan`: it ends with a code that tells what became of the command. */
import process from "node:process";
import { runCommandLine } from "./command-line.ts";

// A reader that has seen enough (`| head`) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

process.exitCode = await runCommandLine(process.argv.slice(2));
