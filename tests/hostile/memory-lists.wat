;; tries: listing its state for ever
;; ends: failed: limit host_resources
(import "larder:function/state@0.1.0" "list" (func $list (param i32 i32 i32 i32 i32 i32)))
(func $run (param i32 i32)
  (loop $again
    (call $forget)
    (call $list (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32))
    (br $again)))
