;; tries: answering with status 199
;; ends: failed: status 199 is not from 200 to 599
;; world: http
(func $run (param $out i32)
  (call $begin (local.get $out) (call $fields) (i32.const 199))
  (call $finish))
