;; tries: a copy that ends behind its memory
;; ends: failed: trapped: 
(func $run (param i32 i32)
  (memory.copy $memory $memory (i32.const 0) (i32.const 65536) (i32.const 0x7fffffff)))
