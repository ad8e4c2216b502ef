;; tries: asking for ever whether a distant timer is ready
;; ends: failed: limit cpu_ms
(import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $timer (param i64) (result i32)))
(import "wasi:io/poll@0.2.6" "[method]pollable.ready" (func $ready (param i32) (result i32)))
(func $run (param i32 i32)
  (local $timer i32)
  (local.set $timer (call $timer (i64.const 3600000000000)))
  (loop $again
    (drop (call $ready (local.get $timer)))
    (br $again)))
