;; tries: setting timers for ever
;; ends: failed: limit host_resources
(import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $timer (param i64) (result i32)))
(func $run (param i32 i32)
  (loop $again
    (drop (call $timer (i64.const 3600000000000)))
    (br $again)))
