;; tries: using a handle that it has dropped
;; ends: failed: trapped: unknown handle index
(import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $timer (param i64) (result i32)))
(import "wasi:io/poll@0.2.6" "[method]pollable.block" (func $block (param i32)))
(import "wasi:io/poll@0.2.6" "[resource-drop]pollable" (func $drop-pollable (param i32)))
(func $run (param i32 i32)
  (local $timer i32)
  (local.set $timer (call $timer (i64.const 0)))
  (call $drop-pollable (local.get $timer))
  (call $block (local.get $timer)))
