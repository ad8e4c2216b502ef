;; tries: copies of the largest table
;; ends: failed: limit cpu_ms
(table $t 20000 funcref)
(func $run (param i32 i32)
  (loop $again
    (table.copy $t $t (i32.const 1) (i32.const 0) (i32.const 19999))
    (br $again)))
