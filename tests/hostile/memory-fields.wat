;; tries: filling one header map after the other
;; ends: failed: limit host_resources
(import "wasi:http/types@0.2.6" "[constructor]fields" (func $fields (result i32)))
(import "wasi:http/types@0.2.6" "[method]fields.append" (func $append (param i32 i32 i32 i32 i32 i32)))
(data (i32.const 1024) "x-name")
(func $run (param i32 i32)
  (local $map i32)
  (memory.fill $memory (i32.const 2048) (i32.const 97) (i32.const 32000))
  (loop $again
    (local.set $map (call $fields))
      (call $append (local.get $map) (i32.const 1024) (i32.const 6) (i32.const 2048) (i32.const 16000) (i32.const 32))
    (br $again)))
