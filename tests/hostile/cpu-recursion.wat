;; tries: a function that calls itself for ever
;; ends: failed: limit stack_bytes
(func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (local.get 0))))
(func $run (param i32 i32)
  (drop (call $deep (i32.const 1))))
