;; tries: making and dropping a resource for ever
;; ends: failed: limit cpu_ms
(import "wasi:http/types@0.2.6" "[constructor]fields" (func $fields (result i32)))
(import "wasi:http/types@0.2.6" "[resource-drop]fields" (func $drop-fields (param i32)))
(func $run (param i32 i32)
  (loop $again
    (call $drop-fields (call $fields))
    (br $again)))
