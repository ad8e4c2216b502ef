;; tries: waiting for one timer half a million times at once
;; ends: failed: limit host_resources
(import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $timer (param i64) (result i32)))
(import "wasi:io/poll@0.2.6" "poll" (func $poll (param i32 i32 i32)))
(func $run (param i32 i32)
  (local $timer i32)
  (local $at i32)
  (drop (memory.grow $memory (i32.const 64)))
  (local.set $timer (call $timer (i64.const 1000000000)))
  (local.set $at (i32.const 65536))
  (loop $fill
    (i32.store (local.get $at) (local.get $timer))
    (local.set $at (i32.add (local.get $at) (i32.const 4)))
    (br_if $fill (i32.lt_u (local.get $at) (i32.const 2065536))))
  (call $poll (i32.const 65536) (i32.const 500000) (i32.const 32))
  unreachable)
