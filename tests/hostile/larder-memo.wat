;; tries: a memo that commands a terminal
;; ends: answers: memo has a control character
(import "larder:function/savings@0.1.0" "create-transaction" (func $create (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
(data (i32.const 1024) "annaSEK1\1b[2J")
(func $run (param i32 i32)
  (call $create (i32.const 1) (i32.const 1024) (i32.const 4) (i32.const 1031) (i32.const 1) (i32.const 1028) (i32.const 3) (i32.const 1) (i32.const 1032) (i32.const 4) (i32.const 32))
  (call $answer (i32.load (i32.const 36)) (i32.load (i32.const 40))))
