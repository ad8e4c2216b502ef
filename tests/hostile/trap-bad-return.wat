;; tries: having the host write its answer outside of the memory
;; ends: failed: trapped: 
(import "larder:function/state@0.1.0" "get" (func $get (param i32 i32 i32)))
(data (i32.const 1024) "key")
(func $run (param i32 i32)
  (call $get (i32.const 1024) (i32.const 3) (i32.const 0x7fff0000)))
