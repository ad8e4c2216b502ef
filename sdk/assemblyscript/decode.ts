// Percent-encoded text.

function digit(code: i32): i32 {
  if (code >= 48 && code <= 57) return code - 48;
  const letter = code | 32;
  return letter >= 97 && letter <= 102 ? letter - 87 : -1;
}

/** What is no encoding is kept as it stands. In a query a plus is a space. */
export function decode(text: string, isQuery: bool): string {
  const from = Uint8Array.wrap(String.UTF8.encode(text, false, String.UTF8.ErrorMode.REPLACE));
  const to = new Uint8Array(from.length);
  let length = 0;
  for (let at = 0; at < from.length; at++) {
    let byte = from[at];
    if (isQuery && byte == 43) byte = 32;
    if (byte == 37 && at + 2 < from.length) {
      const high = digit(from[at + 1]), low = digit(from[at + 2]);
      if (high >= 0 && low >= 0) {
        byte = <u8>(high * 16 + low);
        at += 2;
      }
    }
    to[length++] = byte;
  }
  return String.UTF8.decodeUnsafe(to.dataStart, length);
}
