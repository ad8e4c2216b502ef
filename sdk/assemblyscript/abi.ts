// The interfaces of larder.wit under their names in the canonical ABI, and what memory their calls use.
//
// A result lies in `result`, as the ABI lays it out: tags are bytes, pointers and lengths are words of 32 bits. Arguments, and
// what the host gives, lie in blocks that belong to the call and end with it.

/** Of the largest result. */
const RESULT_BYTES = 28;
/** A block of a call begins with the address of the one before. The allocator aligns to as much. */
const HEADER = 16;

export const result: usize = memory.data(RESULT_BYTES, 4);

let calling = false;
let blocks: usize = 0;

function block(size: usize): usize {
  const at = heap.alloc(size + HEADER);
  store<usize>(at, blocks);
  blocks = at;
  return at + HEADER;
}

/** The host takes memory for what it gives back. So does the adapter for WASI, and keeps it. */
export function cabi_realloc(old: usize, oldSize: usize, align: usize, size: usize): usize {
  const taken = calling ? block(size) : heap.alloc(size);
  if (old != 0) memory.copy(taken, old, oldSize < size ? oldSize : size);
  return taken;
}

/** Begins a call. What `text` and `bytes` give is valid until its `end`. */
export function begin(): void {
  calling = true;
}

export function end(): void {
  calling = false;
  while (blocks != 0) {
    const next = load<usize>(blocks);
    heap.free(blocks);
    blocks = next;
  }
}

/** Text as UTF-8. What is no Unicode becomes U+FFFD, or the host could not read it. */
export function text(value: string): usize {
  const taken = block(<usize>size(value));
  String.UTF8.encodeUnsafe(changetype<usize>(value), value.length, taken, false, String.UTF8.ErrorMode.REPLACE);
  return taken;
}

/** Bytes of `text`. */
export function size(value: string): i32 {
  return String.UTF8.byteLength(value);
}

export function bytes(value: Uint8Array): usize {
  const taken = block(<usize>value.length);
  memory.copy(taken, value.dataStart, <usize>value.length);
  return taken;
}

/** The text whose address and length are these words of a struct. */
export function textAt(struct: usize, word: usize): string {
  return String.UTF8.decodeUnsafe(load<u32>(struct + 4 * word), load<u32>(struct + 4 * word + 4));
}

export function bytesAt(struct: usize, word: usize): Uint8Array {
  const length = load<u32>(struct + 4 * word + 4);
  const copy = new Uint8Array(length);
  memory.copy(copy.dataStart, load<u32>(struct + 4 * word), length);
  return copy;
}

export function tagAt(struct: usize, word: usize): bool {
  return load<u8>(struct + 4 * word) != 0;
}

@external("larder:function/savings@0.1.0", "create-transaction")
export declare function createTransaction(
  hasUser: i32, user: usize, userSize: i32, amount: usize, amountSize: i32, currency: usize, currencySize: i32,
  hasMemo: i32, memo: usize, memoSize: i32, to: usize,
): void;

@external("larder:function/state@0.1.0", "get")
export declare function stateGet(key: usize, size: i32, to: usize): void;

@external("larder:function/state@0.1.0", "set")
export declare function stateSet(key: usize, size: i32, value: usize, valueSize: i32, to: usize): void;

@external("larder:function/state@0.1.0", "delete")
export declare function stateDelete(key: usize, size: i32, to: usize): void;

@external("larder:function/state@0.1.0", "increment")
export declare function stateIncrement(key: usize, size: i32, by: usize, bySize: i32, to: usize): void;

@external("larder:function/state@0.1.0", "list")
export declare function stateList(prefix: usize, size: i32, isAfter: i32, after: usize, afterSize: i32, to: usize): void;

@external("larder:function/events@0.1.0", "emit")
export declare function eventsEmit(
  kind: usize, kindSize: i32, hasSubject: i32, subject: usize, subjectSize: i32, content: usize, contentSize: i32,
  data: usize, dataSize: i32, to: usize,
): void;

@external("larder:function/enrolment@0.1.0", "current")
export declare function enrolmentCurrent(to: usize): void;

@external("larder:function/signing@0.1.0", "sign")
export declare function signingSign(upstream: usize, size: i32, data: usize, dataSize: i32, to: usize): void;
