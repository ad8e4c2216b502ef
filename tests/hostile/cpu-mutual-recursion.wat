;; tries: two functions that call each other through a table
;; ends: failed: limit stack_bytes
(type $step (func (param i32) (result i32)))
(table 2 funcref)
(elem (i32.const 0) $ping $pong)
(func $ping (type $step) (i32.add (i32.const 1) (call_indirect (type $step) (local.get 0) (i32.const 1))))
(func $pong (type $step) (i32.add (i32.const 1) (call_indirect (type $step) (local.get 0) (i32.const 0))))
(func $run (param i32 i32)
  (drop (call $ping (i32.const 1))))
