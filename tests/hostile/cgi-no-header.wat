;; tries: an answer that begins with its body
;; ends: failed: line 1 of its header block is not `Name: value`
;; world: cgi
(data (i32.const 1024) "hello\n\nStatus: 200\n\n")
(func $run (call $say (i32.const 1024) (i32.const 20)))
