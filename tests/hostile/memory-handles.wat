;; tries: making resources for ever
;; ends: failed: limit host_resources
(import "wasi:http/types@0.2.6" "[constructor]fields" (func $fields (result i32)))
(func $run (param i32 i32)
  (loop $again
    (drop (call $fields))
    (br $again)))
