;; tries: headers without an end
;; ends: failed: limit host_resources
;; world: http
(data (i32.const 1024) "x-name")
(func $run (param $out i32)
  (local $headers i32)
  (local.set $headers (call $fields))
  (loop $again
    (call $append (local.get $headers) (i32.const 1024) (i32.const 6) (i32.const 1024) (i32.const 6) (i32.const 32))
    (br $again)))
