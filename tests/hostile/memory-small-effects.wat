;; tries: many small effects
;; ends: failed: limit effects
(import "larder:function/state@0.1.0" "increment" (func $increment (param i32 i32 i32 i32 i32)))
(data (i32.const 1024) "key1")
(func $run (param i32 i32)
  (loop $again
    (call $increment (i32.const 1024) (i32.const 3) (i32.const 1027) (i32.const 1) (i32.const 32))
    (br $again)))
