;; tries: a whole number of what is none
;; ends: failed: trapped: 
(func $run (param i32 i32)
  (drop (i32.trunc_f64_s (f64.const nan))))
