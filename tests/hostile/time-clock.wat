;; tries: measuring others: its clocks know no fraction of a millisecond
;; ends: answers: 0
(import "wasi:clocks/monotonic-clock@0.2.6" "now" (func $now (result i64)))
(import "wasi:clocks/monotonic-clock@0.2.6" "resolution" (func $resolution (result i64)))
(func $run (param i32 i32)
  (local $tries i32)
  (local $fine i32)
  (loop $again
    (local.set $fine (i32.or (local.get $fine) (i64.ne (i64.rem_u (call $now) (i64.const 1000000)) (i64.const 0))))
    (local.set $tries (i32.add (local.get $tries) (i32.const 1)))
    (br_if $again (i32.lt_u (local.get $tries) (i32.const 20000))))
  (call $answer-number (i32.or (local.get $fine) (i64.ne (call $resolution) (i64.const 1000000)))))
