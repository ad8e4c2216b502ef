;; tries: the one division that overflows
;; ends: failed: trapped: 
(func $run (param i32 i32)
  (drop (i32.div_s (i32.const 0x80000000) (i32.const -1))))
