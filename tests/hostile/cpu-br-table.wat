;; tries: a storm of jumps through a table, which no predictor follows
;; ends: failed: limit cpu_ms
(func $run (param i32 i32)
  (local $n i32)
  (loop $again
    (local.set $n (i32.add (i32.mul (local.get $n) (i32.const 1103515245)) (i32.const 12345)))
    (block $a (block $b (block $c (block $d
      (br_table $a $b $c $d (i32.and (i32.shr_u (local.get $n) (i32.const 16)) (i32.const 3)))))))
    (br $again)))
