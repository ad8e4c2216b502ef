;; tries: looking for open folders
;; ends: answers: 0
(import "wasi:filesystem/preopens@0.2.6" "get-directories" (func $directories (param i32)))
(func $run (param i32 i32)
  (call $directories (i32.const 32))
  (call $answer-number (i32.load (i32.const 36))))
