// As much of WASI preview 1 as a CGI program needs: its environment, stdin, stdout, stderr, and its end.

@external("wasi_snapshot_preview1", "environ_sizes_get")
declare function environSizesGet(count: usize, size: usize): i32;
@external("wasi_snapshot_preview1", "environ_get")
declare function environGet(pointers: usize, text: usize): i32;
@external("wasi_snapshot_preview1", "fd_read")
declare function fdRead(fd: i32, vectors: usize, count: i32, read: usize): i32;
@external("wasi_snapshot_preview1", "fd_write")
declare function fdWrite(fd: i32, vectors: usize, count: i32, written: usize): i32;
@external("wasi_snapshot_preview1", "proc_exit")
declare function procExit(code: i32): void;

const READ_BYTES = 16384;
/** A vector, and behind it how much of it was read or written. */
const vector: usize = memory.data(12, 4);

let variables: Map<string, string> | null = null;

/** The variables of the function, and what CGI says of the request. */
export function environment(): Map<string, string> {
  if (variables !== null) return variables as Map<string, string>;
  const all = new Map<string, string>();
  variables = all;
  if (environSizesGet(vector, vector + 4) != 0) return all;
  const count = load<u32>(vector);
  const pointers = heap.alloc(4 * count + load<u32>(vector + 4) + 1);
  if (environGet(pointers, pointers + 4 * count) == 0) {
    for (let at: usize = 0; at < count; at++) {
      const begin: usize = load<u32>(pointers + 4 * at);
      let end = begin;
      while (load<u8>(end) != 0) end++;
      const line = String.UTF8.decodeUnsafe(begin, end - begin);
      const equals = line.indexOf("=");
      if (equals > 0) all.set(line.substring(0, equals), line.substring(equals + 1));
    }
  }
  heap.free(pointers);
  return all;
}

export function variable(name: string): string {
  const all = environment();
  return all.has(name) ? all.get(name) : "";
}

/** The name of a header as variables have it. */
export function upperCase(name: string): string {
  let upper = "";
  for (let at = 0; at < name.length; at++) {
    const code = name.charCodeAt(at);
    upper += code == 45 ? "_" : String.fromCharCode(code >= 97 && code <= 122 ? code - 32 : code);
  }
  return upper;
}

/** All of stdin. */
export function input(): Uint8Array {
  let block = heap.alloc(READ_BYTES);
  let room: usize = READ_BYTES, length: usize = 0;
  while (true) {
    if (length == room) block = heap.realloc(block, (room *= 2));
    store<u32>(vector, <u32>(block + length));
    store<u32>(vector + 4, <u32>(room - length));
    const failed = fdRead(0, vector, 1, vector + 8);
    // A body that was cut off must not look as if it had ended.
    if (failed != 0) abortRun(`the request cannot be read (${failed})`);
    const read = load<u32>(vector + 8);
    if (read == 0) break;
    length += read;
  }
  const body = new Uint8Array(<i32>length);
  memory.copy(body.dataStart, block, length);
  heap.free(block);
  return body;
}

/** Writes all of it to stdout (1) or stderr (2). */
export function write(fd: i32, at: usize, size: i32): void {
  while (size > 0) {
    store<u32>(vector, <u32>at);
    store<u32>(vector + 4, size);
    if (fdWrite(fd, vector, 1, vector + 8) != 0) return;
    const written = load<u32>(vector + 8);
    at += written;
    size -= <i32>written;
  }
}

export function writeText(fd: i32, value: string): void {
  const encoded = String.UTF8.encode(value, false, String.UTF8.ErrorMode.REPLACE);
  write(fd, changetype<usize>(encoded), encoded.byteLength);
}

/** Ends the program well. */
export function exit(): void {
  procExit(0);
  unreachable();
}

/** Ends the run as failed. */
export function abortRun(why: string): void {
  writeText(2, why + "\n");
  unreachable();
}

/** What AssemblyScript calls where a program is wrong: `--use abort=`. */
export function aborted(message: string | null, file: string | null, line: u32, column: u32): void {
  const where = file === null ? "" : ` at ${file as string}:${line}:${column}`;
  abortRun((message === null ? "aborted" : message as string) + where);
}

/** `--use seed=`: the host's randomness. */
export function seed(): f64 {
  randomGet(vector, 8);
  return reinterpret<f64>(load<u64>(vector));
}

@external("wasi_snapshot_preview1", "random_get")
declare function randomGet(at: usize, size: usize): i32;

/** `--use trace=`: to the log. */
export function trace(message: string, n: i32 = 0, a0: f64 = 0, a1: f64 = 0, a2: f64 = 0, a3: f64 = 0, a4: f64 = 0): void {
  let line = message;
  if (n > 0) line += " " + a0.toString();
  if (n > 1) line += " " + a1.toString();
  if (n > 2) line += " " + a2.toString();
  if (n > 3) line += " " + a3.toString();
  if (n > 4) line += " " + a4.toString();
  writeText(2, line + "\n");
}

/** `--use console=`: to the log. */
export namespace console {
  export function log(message: string = ""): void {
    writeText(2, message + "\n");
  }
  export function debug(message: string = ""): void {
    log(message);
  }
  export function info(message: string = ""): void {
    log(message);
  }
  export function warn(message: string = ""): void {
    log(message);
  }
  export function error(message: string = ""): void {
    log(message);
  }
}
