/** A program for the `startup` bench: from the import of Sinan to a first result read back. Prints the milliseconds as JSON. */
const start = performance.now();
const { tensor } = await import("sinan");
const [first] = await tensor([1, 2, 3, 4]).mul(2).sum().data();
console.log(JSON.stringify({ ms: performance.now() - start, first }));
