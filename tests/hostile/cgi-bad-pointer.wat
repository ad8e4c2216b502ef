;; tries: having random bytes written beyond its memory
;; ends: failed: trapped: 
;; world: cgi
(import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
(func $run (drop (call $random_get (i32.const 0x7fff0000) (i32.const 100))))
