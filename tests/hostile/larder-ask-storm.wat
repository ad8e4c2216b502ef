;; tries: asking for ever whether it may save for a stranger, a query each
;; ends: failed: limit host_resources
(import "larder:function/savings@0.1.0" "create-transaction" (func $create (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
(data (i32.const 1024) "evilSEK1")
(func $run (param i32 i32)
  (loop $again
    (call $forget)
    (call $create (i32.const 1) (i32.const 1024) (i32.const 4) (i32.const 1031) (i32.const 1) (i32.const 1028) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32))
    (br $again)))
