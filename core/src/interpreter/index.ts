/** The interpreter as a device. Importing it registers the driver "interpreter" and the code generator "sinan-ir". */
import { register } from "../runtime/registry.ts";
import { graphCodegen } from "./codegen.ts";
import { interpreterDriver } from "./driver.ts";

register({ driver: interpreterDriver }, { codegen: graphCodegen });
