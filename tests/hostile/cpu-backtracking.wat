;; tries: what a regular expression such as (a*)*b does: a tree of calls that no one lives to see the end of
;; ends: failed: limit cpu_ms
(func $match (param $left i32) (result i32)
  (if (i32.eqz (local.get $left)) (then (return (i32.const 1))))
  (i32.add (call $match (i32.sub (local.get $left) (i32.const 1))) (call $match (i32.sub (local.get $left) (i32.const 1)))))
(func $run (param i32 i32)
  (drop (call $match (i32.const 60))))
