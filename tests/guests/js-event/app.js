// Saves what the event says and counts in state how often. The contract is larder:function, bound by jco.
import { createTransaction } from "larder:function/savings@0.1.0";
import { get, set } from "larder:function/state@0.1.0";

const decoder = new TextDecoder();
const encoder = new TextEncoder();

export const handler = {
  handle(event) {
    let data;
    try {
      data = JSON.parse(decoder.decode(event.data));
    } catch (err) {
      throw { tag: "reject", val: `data is not JSON: ${err.message}` };
    }
    if (data.retry) throw { tag: "retry", val: "asked to" };
    // An error of the host arrives as a thrown error with the host's text as payload.
    const attempt = (call) => {
      try {
        return call();
      } catch (err) {
        throw { tag: "reject", val: String(err.payload ?? err) };
      }
    };
    const before = attempt(() => get("count"));
    const count = before === undefined ? 1 : Number(decoder.decode(before)) + 1;
    attempt(() => set("count", encoder.encode(String(count))));
    const { amount, currency } = data;
    const transaction = attempt(() => createTransaction({ amount, currency, memo: "from JavaScript" }));
    console.log(`saved ${amount} ${currency}`);
    return encoder.encode(JSON.stringify({ transaction, count }));
  },
};
