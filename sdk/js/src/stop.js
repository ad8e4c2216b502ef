/** Ends the run as the function wants: `tag` is `retry` or `reject`. */
export class Stop extends Error {
  constructor(tag, why) {
    super(why);
    this.tag = tag;
  }
}
