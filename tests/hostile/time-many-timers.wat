;; tries: waiting for four hundred timers at once
;; ends: failed: limit wall_ms
(import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $timer (param i64) (result i32)))
(import "wasi:io/poll@0.2.6" "poll" (func $poll (param i32 i32 i32)))
(func $run (param i32 i32)
  (local $at i32)
  (local.set $at (i32.const 2048))
  (loop $fill
    (i32.store (local.get $at) (call $timer (i64.const 3600000000000)))
    (local.set $at (i32.add (local.get $at) (i32.const 4)))
    (br_if $fill (i32.lt_u (local.get $at) (i32.const 3648))))
  (call $poll (i32.const 2048) (i32.const 400) (i32.const 32)))
