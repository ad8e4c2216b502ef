;; tries: reading the input of the process: it is closed
;; ends: answers: 1
(import "wasi:cli/stdin@0.2.6" "get-stdin" (func $stdin (result i32)))
(import "wasi:io/streams@0.2.6" "[method]input-stream.blocking-read" (func $read (param i32 i64 i32)))
(func $run (param i32 i32)
  ;; err(closed) is 1 and 1.
  (call $read (call $stdin) (i64.const 100) (i32.const 32))
  (call $answer-number (i32.and (i32.load8_u (i32.const 32)) (i32.load8_u (i32.const 36)))))
