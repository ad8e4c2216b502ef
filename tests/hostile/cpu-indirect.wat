;; tries: a storm of calls through a table
;; ends: failed: limit cpu_ms
(type $nothing (func))
(table 1 funcref)
(elem (i32.const 0) $nothing)
(func $nothing)
(func $run (param i32 i32)
  (loop $again
    (call_indirect (type $nothing) (i32.const 0))
    (br $again)))
