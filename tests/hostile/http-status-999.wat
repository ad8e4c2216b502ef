;; tries: answering with status 999
;; ends: failed: status 999 is not from 200 to 599
;; world: http
(func $run (param $out i32)
  (call $begin (local.get $out) (call $fields) (i32.const 999))
  (call $finish))
