;; tries: a carriage return inside a header
;; ends: failed: has a value that no header can have
;; world: cgi
(data (i32.const 1024) "Content-Type: a\rX-Other: b\n\n")
(func $run (call $say (i32.const 1024) (i32.const 28)))
