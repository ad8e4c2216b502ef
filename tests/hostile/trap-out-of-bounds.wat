;; tries: a read far behind its memory, where others' memories may lie
;; ends: failed: trapped: 
(func $run (param i32 i32)
  (drop (i32.load offset=0xfffffff0 (i32.const 0x7fffffff))))
