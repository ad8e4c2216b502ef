;; tries: asking for ever whether it may write
;; ends: failed: limit cpu_ms
(import "wasi:cli/stdout@0.2.6" "get-stdout" (func $stdout (result i32)))
(import "wasi:io/streams@0.2.6" "[method]output-stream.check-write" (func $check-write (param i32 i32)))
(func $run (param i32 i32)
  (local $out i32)
  (local.set $out (call $stdout))
  (loop $again
    (call $check-write (local.get $out) (i32.const 32))
    (br $again)))
