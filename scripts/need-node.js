/** Loaded before any TypeScript of this repository: the sources run as they are, which Node does since 22.18. Plain
 *  JavaScript, so that an older Node reaches the message below instead of a syntax error. */

const oldest = [22, 18];
const [major, minor] = process.versions.node.split(".").map(Number);

if (major < oldest[0] || (major === oldest[0] && minor < oldest[1])) {
  console.error(
    `Sinan's sources need Node ${oldest.join(".")} or newer to run as they are; this is Node ${process.versions.node}.\n` +
      "  Run `npm ci` without --omit=dev: it brings a fitting Node that `npm start`, `npm test` and `npx sinan` use.",
  );
  process.exit(1);
}
