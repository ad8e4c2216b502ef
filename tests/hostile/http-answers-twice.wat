;; tries: answering twice
;; ends: failed: trapped: unknown handle index
;; world: http
(func $run (param $out i32)
  (call $begin (local.get $out) (call $fields) (i32.const 200))
  (call $finish)
  (call $begin (local.get $out) (call $fields) (i32.const 200)))
