;; tries: beginning requests for ever and writing as much to each as it takes
;; ends: failed: limit host_resources
(import "wasi:http/types@0.2.6" "[constructor]fields" (func $fields (result i32)))
(import "wasi:http/types@0.2.6" "[constructor]outgoing-request" (func $request (param i32) (result i32)))
(import "wasi:http/types@0.2.6" "[method]outgoing-request.body" (func $body (param i32 i32)))
(import "wasi:http/types@0.2.6" "[method]outgoing-body.write" (func $stream (param i32 i32)))
(import "wasi:io/streams@0.2.6" "[method]output-stream.check-write" (func $check-write (param i32 i32)))
(import "wasi:io/streams@0.2.6" "[method]output-stream.write" (func $write (param i32 i32 i32 i32)))
(func $run (param i32 i32)
  (local $request i32)
  (local $body i32)
  (local $stream i32)
  (loop $again
    (local.set $request (call $request (call $fields)))
    (call $body (local.get $request) (i32.const 32))
    (local.set $body (i32.load (i32.const 36)))
    (call $stream (local.get $body) (i32.const 32))
    (local.set $stream (i32.load (i32.const 36)))
    (loop $write
      (call $check-write (local.get $stream) (i32.const 64))
      (if (i64.ne (i64.load (i32.const 72)) (i64.const 0))
        (then
          (call $write (local.get $stream) (i32.const 2048) (i32.wrap_i64 (i64.load (i32.const 72))) (i32.const 32))
          (br $write))))
    (br $again)))
