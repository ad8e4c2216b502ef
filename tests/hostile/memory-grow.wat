;; tries: growing and touching memory until there is none
;; ends: failed: limit memory_bytes
(func $run (param i32 i32)
  (loop $more
    (if (i32.eq (memory.grow $memory (i32.const 16)) (i32.const -1)) (then unreachable))
    (memory.fill $memory (i32.shl (i32.sub (memory.size $memory) (i32.const 16)) (i32.const 16)) (i32.const 1) (i32.const 1048576))
    (br $more)))
