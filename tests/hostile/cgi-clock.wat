;; tries: the clocks of the host tell the time
;; ends: answers: 0
;; world: cgi
(import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
(func $run
  (call $say-number (i32.add
    (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 128))
    (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 136)))))
