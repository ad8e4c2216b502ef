// tries: throwing what throws whenever it is looked at
// ends: failed: trap
export default () => {
  const evil = () => {
    throw thing;
  };
  const thing = new Proxy({}, { get: evil, getPrototypeOf: evil, ownKeys: evil, has: evil });
  throw thing;
};
