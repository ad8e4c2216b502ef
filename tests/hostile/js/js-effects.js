// tries: emitting events for ever, whatever they are answered with
// ends: failed: limit effects
export default (request, run) => {
  for (;;) {
    try {
      run.emit("attack.happened");
    } catch {}
  }
};
