// tries: calling itself for ever, again and again
// ends: failed: limit
export default () => {
  const again = () => {
    try {
      again();
    } catch {}
    again();
  };
  again();
};
