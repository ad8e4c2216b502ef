// tries: reading state for ever
// ends: failed: limit host_resources
export default (request, run) => {
  for (let at = 0; ; at += 1) run.state.get(`key-${at % 7}`);
};
