;; tries: a call of nothing
;; ends: failed: trapped: 
(type $nothing (func))
(table 1 funcref)
(func $run (param i32 i32)
  (call_indirect (type $nothing) (i32.const 0)))
