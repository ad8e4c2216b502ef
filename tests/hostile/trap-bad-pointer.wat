;; tries: handing the host text that lies outside of its memory
;; ends: failed: trapped: 
(import "larder:function/state@0.1.0" "get" (func $get (param i32 i32 i32)))
(func $run (param i32 i32)
  (call $get (i32.const 0x7fff0000) (i32.const 200) (i32.const 32)))
