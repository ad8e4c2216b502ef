;; tries: ending the process, badly
;; ends: failed: exited with code 1
(import "wasi:cli/exit@0.2.6" "exit" (func $exit (param i32)))
(func $run (param i32 i32)
  (call $exit (i32.const 1)))
