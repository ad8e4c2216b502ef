;; tries: asking the clock for ever
;; ends: failed: limit cpu_ms
(import "wasi:clocks/monotonic-clock@0.2.6" "now" (func $now (result i64)))
(func $run (param i32 i32)
  (loop $again
    (drop (call $now))
    (br $again)))
