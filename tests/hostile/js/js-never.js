// tries: an answer that never comes
// ends: failed: without waiting
export default () => new Promise(() => {});
