;; tries: a header with a control character
;; ends: failed: has a value that no header can have
;; world: cgi
(data (i32.const 1024) "Content-Type: a\01b\n\n")
(func $run (call $say (i32.const 1024) (i32.const 19)))
