// tries: ending the head of the answer early
// ends: failed: is not allowed
import { Response } from "@larder/sdk";

export default () => new Response("body", { headers: { "x-a": "b\r\nset-cookie: stolen=1" } });
