;; tries: having the host write a gigabyte of zeros into its log
;; ends: failed: cannot write more zeroes
(import "wasi:cli/stdout@0.2.6" "get-stdout" (func $stdout (result i32)))
(import "wasi:io/streams@0.2.6" "[method]output-stream.write-zeroes" (func $write-zeroes (param i32 i64 i32)))
(func $run (param i32 i32)
  (call $write-zeroes (call $stdout) (i64.const 1073741824) (i32.const 32)))
