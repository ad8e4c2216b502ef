;; tries: a body that never ends
;; ends: failed: limit wall_ms
;; world: http
(import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $timer (param i64) (result i32)))
(import "wasi:io/poll@0.2.6" "[method]pollable.block" (func $block (param i32)))
(func $run (param $out i32)
  (call $begin (local.get $out) (call $fields) (i32.const 200))
  (call $write (i32.const 5))
  (call $block (call $timer (i64.const 0x7fffffffffffffff))))
