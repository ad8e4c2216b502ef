;; tries: using a handle as if it were of another resource
;; ends: failed: trapped: 
(import "wasi:http/types@0.2.6" "[constructor]fields" (func $fields (result i32)))
(import "wasi:io/poll@0.2.6" "[method]pollable.block" (func $block (param i32)))
(func $run (param i32 i32)
  (call $block (call $fields)))
