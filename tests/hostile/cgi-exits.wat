;; tries: a whole answer and exit code 0
;; ends: answers: 7
;; world: cgi
(import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
(func $run (call $say-number (i32.const 7)) (call $proc_exit (i32.const 0)))
