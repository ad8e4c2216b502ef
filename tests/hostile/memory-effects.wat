;; tries: storing the largest value for ever
;; ends: failed: limit host_resources
(import "larder:function/state@0.1.0" "set" (func $set-state (param i32 i32 i32 i32 i32)))
(data (i32.const 1024) "key")
(func $run (param i32 i32)
  (loop $again
    (call $set-state (i32.const 1024) (i32.const 3) (i32.const 0) (i32.const 65536) (i32.const 32))
    (br $again)))
