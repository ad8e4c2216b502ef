;; tries: sleeping for ever
;; ends: failed: limit wall_ms
(import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $timer (param i64) (result i32)))
(import "wasi:io/poll@0.2.6" "[method]pollable.block" (func $block (param i32)))
(func $run (param i32 i32)
  (call $block (call $timer (i64.const 0x7fffffffffffffff))))
