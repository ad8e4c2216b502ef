;; tries: emitting the largest event for ever
;; ends: failed: limit host_resources
(import "larder:function/events@0.1.0" "emit" (func $emit (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
(data (i32.const 1024) "one.more")
(func $run (param i32 i32)
  (loop $again
    (call $forget)
    (call $emit (i32.const 1024) (i32.const 8) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 65536) (i32.const 32))
    (br $again)))
