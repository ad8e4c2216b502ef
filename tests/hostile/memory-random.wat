;; tries: a gigabyte of random bytes at once
;; ends: failed: limit host_resources
(import "wasi:random/random@0.2.6" "get-random-bytes" (func $random (param i64 i32)))
(func $run (param i32 i32)
  (call $random (i64.const 1073741824) (i32.const 32)))
