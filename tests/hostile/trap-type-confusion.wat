;; tries: a call of a function as if it were of another type
;; ends: failed: trapped: 
(type $other (func (param i64 i64) (result f64)))
(table 1 funcref)
(elem (i32.const 0) $run)
(func $run (param i32 i32)
  (drop (call_indirect (type $other) (i64.const 0) (i64.const 0) (i32.const 0))))
