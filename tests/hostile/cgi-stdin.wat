;; tries: reading its input to the end, again and again: it has six bytes
;; ends: answers: 6
;; world: cgi
(import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
(func $run
  (local $read i32) (local $ends i32)
  (i32.store (i32.const 128) (i32.const 4096))
  (i32.store (i32.const 132) (i32.const 2))
  (loop $more
    (if (call $fd_read (i32.const 0) (i32.const 128) (i32.const 1) (i32.const 136)) (then unreachable))
    (local.set $read (i32.add (local.get $read) (i32.load (i32.const 136))))
    (br_if $more (i32.load (i32.const 136)))
    (br_if $more (i32.lt_u (local.tee $ends (i32.add (local.get $ends) (i32.const 1))) (i32.const 100))))
  (call $say-number (local.get $read)))
