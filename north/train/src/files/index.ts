/** The file system of Node behind `Files`. */

export { nodeFiles } from "./node.ts";
