/** A simulated device for Sinan, for tests of everything that a fast, faultless device hides. Importing it registers the
 *  driver "sim". */
import { graphCodegen, register } from "sinan/south";
import { simDriver } from "./driver.ts";

register({ driver: simDriver }, { codegen: graphCodegen });

export { simDriver };
export type { SimOptions } from "./options.ts";
