;; tries: giving the host room that is none
;; ends: failed: trapped: 
(import "wasi:random/random@0.2.6" "get-random-bytes" (func $random (param i64 i32)))
(func $run (param i32 i32)
  (global.set $realloc-lies (i32.const 1))
  (call $random (i64.const 64) (i32.const 32)))
