;; tries: an endless loop in the allocator, which runs in the middle of a host call
;; ends: failed: limit cpu_ms
(import "wasi:random/random@0.2.6" "get-random-bytes" (func $random (param i64 i32)))
(func $run (param i32 i32)
  (global.set $realloc-spins (i32.const 1))
  (call $random (i64.const 8) (i32.const 32)))
