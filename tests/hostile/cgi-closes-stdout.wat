;; tries: closing stdout and writing to it: 8 is a bad descriptor
;; ends: failed: ended without an answer
;; world: cgi
(import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
(func $run
  (if (call $fd_close (i32.const 1)) (then unreachable))
  (if (i32.ne (call $write-to (i32.const 1) (i32.const 512) (i32.const 26)) (i32.const 8)) (then unreachable)))
