// tries: calling itself for ever, again and again
// ends: failed: limit stack_bytes
export default () => {
  const again = () => {
    try {
      again();
    } catch {}
    again();
  };
  again();
};
