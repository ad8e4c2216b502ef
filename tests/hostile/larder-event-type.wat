;; tries: an event type of control characters
;; ends: answers: type contains
(import "larder:function/events@0.1.0" "emit" (func $emit (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
(data (i32.const 1024) "a\0ab")
(func $run (param i32 i32)
  (call $emit (i32.const 1024) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32))
  (call $answer (i32.load (i32.const 36)) (i32.load (i32.const 40))))
