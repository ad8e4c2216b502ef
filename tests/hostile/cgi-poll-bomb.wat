;; tries: waiting for sixty thousand timers at once
;; ends: failed: 
;; world: cgi
(import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
(func $run
  (local $at i32)
  (drop (memory.grow $memory (i32.const 100)))
  (loop $next
    (i32.store offset=65552 (local.get $at) (i32.const 1))
    (i64.store offset=65560 (local.get $at) (i64.const 0x7fffffffffffffff))
    (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 48))) (i32.const 2880000))))
  (drop (call $poll_oneoff (i32.const 65536) (i32.const 3000000) (i32.const 60000) (i32.const 128))))
