;; tries: a division by zero
;; ends: failed: trapped: 
(func $run (param i32 i32)
  (drop (i32.div_s (local.get 1) (i32.const 0))))
