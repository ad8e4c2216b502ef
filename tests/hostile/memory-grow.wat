;; tries: growing and touching memory until there is none
;; ends: failed: limit memory_bytes
(func $run (param i32 i32)
  (local $at i32)
  (loop $more
    (if (i32.eq (memory.grow $memory (i32.const 16)) (i32.const -1)) (then unreachable))
    (local.set $at (i32.shl (i32.sub (memory.size $memory) (i32.const 16)) (i32.const 16)))
    ;; A byte in every fourth page of the machine's: with all of them the processor's time may be over first.
    (loop $touch
      (i32.store8 (local.get $at) (i32.const 1))
      (local.set $at (i32.add (local.get $at) (i32.const 16384)))
      (br_if $touch (i32.lt_u (local.get $at) (i32.shl (memory.size $memory) (i32.const 16)))))
    (br $more)))
