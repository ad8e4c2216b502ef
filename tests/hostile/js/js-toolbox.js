// tries: what engines bring besides the language: the file system, processes, modules, timers
// ends: answers: none: []
export default () => {
  const names = ["std", "os", "process", "require", "Deno", "Bun", "setTimeout", "setInterval", "Worker", "WebAssembly"];
  return `none: ${JSON.stringify(names.filter((name) => typeof globalThis[name] !== "undefined"))}`;
};
