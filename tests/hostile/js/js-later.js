// tries: going on after its answer
// ends: answers: answered
export default () => {
  const again = () => Promise.resolve().then(again);
  again();
  return "answered";
};
