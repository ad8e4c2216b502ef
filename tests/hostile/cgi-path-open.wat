;; tries: opening /etc/passwd below a folder that is not there: 8 is a bad descriptor
;; ends: answers: 8
;; world: cgi
(import "wasi_snapshot_preview1" "path_open" (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
(data (i32.const 1024) "/etc/passwd")
(func $run
  (call $say-number (call $path_open (i32.const 3) (i32.const 1) (i32.const 1024) (i32.const 11) (i32.const 0)
    (i64.const 2) (i64.const 2) (i32.const 0) (i32.const 128))))
