;; tries: looking for folders: 8 is a bad descriptor
;; ends: answers: 8
;; world: cgi
(import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
(func $run (call $say-number (call $fd_prestat_get (i32.const 3) (i32.const 128))))
