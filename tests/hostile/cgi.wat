;; Around entries of the CGI world: `$run` writes its answer to stdout.
(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
(func (export "_start") (call $run))
(data (i32.const 512) "Content-Type: text/plain\n\n")
;; Writes to a descriptor; gives what it was answered.
(func $write-to (param $to i32) (param $at i32) (param $length i32) (result i32)
  (i32.store (i32.const 64) (local.get $at))
  (i32.store (i32.const 68) (local.get $length))
  (call $fd_write (local.get $to) (i32.const 64) (i32.const 1) (i32.const 72)))
(func $say (param $at i32) (param $length i32)
  (drop (call $write-to (i32.const 1) (local.get $at) (local.get $length))))
(func $begin (call $say (i32.const 512) (i32.const 26)))
;; A whole answer: a number.
(func $say-number (param $number i32)
  (call $begin)
  (call $answer-number (local.get $number))
  (call $say (i32.load (i32.const 24)) (i32.load (i32.const 28))))
