// tries: changing what the next run finds: every object's prototype, functions of the engine, the SDK's own state
// ends: answers: clean
export default () => {
  const found = [Object.prototype.polluted, globalThis.polluted, Array.prototype.map.polluted, [].push === evil];
  Object.prototype.polluted = globalThis.polluted = Array.prototype.map.polluted = true;
  const dirty = found.some((it) => it === true);
  const answer = new Uint8Array([...(dirty ? "dirty" : "clean")].map((letter) => letter.charCodeAt(0)));
  Array.prototype.push = JSON.stringify = Math.random = evil;
  return answer;
};

function evil() {
  return "evil";
}
