;; tries: accepting a connection: there is nothing to accept it on
;; ends: failed: trapped: 
;; world: cgi
(import "wasi_snapshot_preview1" "sock_accept" (func $sock_accept (param i32 i32 i32) (result i32)))
(func $run (call $say-number (call $sock_accept (i32.const 3) (i32.const 0) (i32.const 128))))
