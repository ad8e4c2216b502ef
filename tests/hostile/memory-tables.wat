;; tries: growing a table and the memory together until there is none
;; ends: failed: limit memory_bytes
(table $t 0 funcref)
(func $run (param i32 i32)
  (loop $more
    (if (i32.eq (memory.grow $memory (i32.const 1)) (i32.const -1)) (then unreachable))
    (drop (table.grow $t (ref.null func) (i32.const 20)))
    (br $more)))
