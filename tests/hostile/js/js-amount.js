// tries: saving what is no amount, under the type's name
// ends: failed: not object
export default (request, run) => run.save({ amount: "1e9", currency: "SEK", constructor: { name: "Money" } });
