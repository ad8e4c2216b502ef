;; tries: an answer with two statuses
;; ends: failed: is a second status
;; world: cgi
(data (i32.const 1024) "Status: 200\nStatus: 500\n\n")
(func $run (call $say (i32.const 1024) (i32.const 25)))
