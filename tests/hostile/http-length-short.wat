;; tries: promising more bytes than it sends
;; ends: failed: no valid response
;; world: http
(data (i32.const 1024) "content-length100")
(func $run (param $out i32)
  (local $headers i32)
  (local.set $headers (call $fields))
  (call $append (local.get $headers) (i32.const 1024) (i32.const 14) (i32.const 1038) (i32.const 3) (i32.const 32))
  (call $begin (local.get $out) (local.get $headers) (i32.const 200))
  (call $write (i32.const 5))
  (call $finish))
