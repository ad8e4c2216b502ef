;; tries: a call through an entry that its table does not have
;; ends: failed: trapped: 
(type $nothing (func))
(table 1 funcref)
(func $run (param i32 i32)
  (call_indirect (type $nothing) (i32.const 0x7fffffff)))
