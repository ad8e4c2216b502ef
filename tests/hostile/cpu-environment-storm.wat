;; tries: asking for its environment for ever
;; ends: failed: limit cpu_ms
(import "wasi:cli/environment@0.2.6" "get-environment" (func $environment (param i32)))
(func $run (param i32 i32)
  (loop $again
    (call $forget)
    (call $environment (i32.const 32))
    (br $again)))
