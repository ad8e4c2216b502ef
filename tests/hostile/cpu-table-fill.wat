;; tries: fills of the largest table
;; ends: failed: limit cpu_ms
(table $t 20000 funcref)
(func $run (param i32 i32)
  (loop $again
    (table.fill $t (i32.const 0) (ref.null func) (i32.const 20000))
    (br $again)))
