;; tries: the same of the cheap kind
;; ends: failed: limit cpu_ms
(import "wasi:random/insecure@0.2.6" "get-insecure-random-bytes" (func $insecure (param i64 i32)))
(func $run (param i32 i32)
  (loop $again
    (call $forget)
    (call $insecure (i64.const 65536) (i32.const 32))
    (br $again)))
