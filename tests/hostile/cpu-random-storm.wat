;; tries: drawing 64 KiB of random bytes for ever
;; ends: failed: limit cpu_ms
(import "wasi:random/random@0.2.6" "get-random-bytes" (func $random (param i64 i32)))
(func $run (param i32 i32)
  (loop $again
    (call $forget)
    (call $random (i64.const 65536) (i32.const 32))
    (br $again)))
