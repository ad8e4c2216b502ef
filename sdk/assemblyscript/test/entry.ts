import "./all";
import { serve } from "../index";
export { cabi_realloc } from "../abi";
serve();
