;; tries: a whole answer, and an exit code that says it is none
;; ends: failed: exited with code 1
;; world: cgi
(import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
(func $run (call $say-number (i32.const 7)) (call $proc_exit (i32.const 3)))
