;; tries: handing the host text that is no UTF-8
;; ends: failed: trapped: 
(import "larder:function/state@0.1.0" "get" (func $get (param i32 i32 i32)))
(data (i32.const 1024) "\ff\fe")
(func $run (param i32 i32)
  (call $get (i32.const 1024) (i32.const 2) (i32.const 32)))
