// tries: text that is no UTF-16: halves of letters, in the answer, the log and a key
// ends: answers: "whole":true
export default (request, run) => {
  const half = "\ud83d";
  try {
    console.log(half, `${half}a`);
    run.state.set(`key-${half}`, half);
    return { whole: run.state.list("key-").length === 1, half };
  } catch (error) {
    return error.message;
  }
};
