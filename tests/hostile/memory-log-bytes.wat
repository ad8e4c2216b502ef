;; tries: endless output, a byte at a time
;; ends: failed: limit cpu_ms
(import "wasi:cli/stdout@0.2.6" "get-stdout" (func $stdout (result i32)))
(import "wasi:io/streams@0.2.6" "[method]output-stream.write" (func $write (param i32 i32 i32 i32)))
(func $run (param i32 i32)
  (local $out i32)
  (local.set $out (call $stdout))
  (loop $again
    (call $write (local.get $out) (i32.const 2048) (i32.const 1) (i32.const 32))
    (br $again)))
