;; tries: a gigabyte of cheap random bytes at once
;; ends: failed: limit host_resources
(import "wasi:random/insecure@0.2.6" "get-insecure-random-bytes" (func $insecure (param i64 i32)))
(func $run (param i32 i32)
  (call $insecure (i64.const 1073741824) (i32.const 32)))
