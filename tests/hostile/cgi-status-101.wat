;; tries: answering with status 101
;; ends: failed: status 101 is not from 200 to 599
;; world: cgi
(data (i32.const 1024) "Status: 101 Go on\nUpgrade: x\n\n")
(func $run (call $say (i32.const 1024) (i32.const 30)))
