;; tries: keys of no and of 256 characters
;; ends: answers: 2
(import "larder:function/state@0.1.0" "set" (func $set-state (param i32 i32 i32 i32 i32)))
(func $run (param i32 i32)
  (memory.fill $memory (i32.const 2048) (i32.const 107) (i32.const 256))
  (call $set-state (i32.const 2048) (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 32))
  (call $set-state (i32.const 2048) (i32.const 256) (i32.const 1024) (i32.const 1) (i32.const 64))
  (call $answer-number (i32.add (i32.load8_u (i32.const 32)) (i32.load8_u (i32.const 64)))))
