;; tries: sleeping for ever
;; ends: failed: limit wall_ms
;; world: cgi
(import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
(func $run
  ;; A subscription to the monotonic clock, relative.
  (i32.store (i32.const 1040) (i32.const 1))
  (i64.store (i32.const 1048) (i64.const 0x7fffffffffffffff))
  (drop (call $poll_oneoff (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 128))))
