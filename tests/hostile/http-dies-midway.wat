;; tries: dying in the middle of its body
;; ends: failed: trapped: 
;; world: http
(func $run (param $out i32)
  (call $begin (local.get $out) (call $fields) (i32.const 200))
  (call $write (i32.const 5))
  unreachable)
