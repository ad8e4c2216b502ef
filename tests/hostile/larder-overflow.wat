;; tries: an increment beyond 64 bits
;; ends: answers: too large
(import "larder:function/state@0.1.0" "set" (func $set-state (param i32 i32 i32 i32 i32)))
(import "larder:function/state@0.1.0" "increment" (func $increment (param i32 i32 i32 i32 i32)))
(data (i32.const 1024) "key9223372036854775807")
(func $run (param i32 i32)
  (call $set-state (i32.const 1024) (i32.const 3) (i32.const 1027) (i32.const 19) (i32.const 32))
  (call $increment (i32.const 1024) (i32.const 3) (i32.const 1027) (i32.const 1) (i32.const 32))
  (call $answer (i32.load (i32.const 36)) (i32.load (i32.const 40))))
