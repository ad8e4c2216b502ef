;; tries: a body without an end, a byte at a time
;; ends: failed: limit 
;; world: http
(func $run (param $out i32)
  (call $begin (local.get $out) (call $fields) (i32.const 200))
  (loop $again (call $write (i32.const 1)) (br $again)))
