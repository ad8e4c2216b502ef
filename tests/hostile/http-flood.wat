;; tries: a body without an end, as fast as it can
;; ends: failed: limit 
;; world: http
(func $run (param $out i32)
  (call $begin (local.get $out) (call $fields) (i32.const 200))
  (loop $again (call $write (i32.const 4096)) (br $again)))
