;; tries: drawing random bytes for ever
;; ends: failed: limit cpu_ms
;; world: cgi
(import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
(func $run
  (loop $again (drop (call $random_get (i32.const 65536) (i32.const 65536))) (br $again)))
