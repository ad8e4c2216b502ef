;; tries: answering with status 999
;; ends: failed: status 999 is not from 200 to 599
;; world: cgi
(data (i32.const 1024) "Status: 999 Odd\n\n")
(func $run (call $say (i32.const 1024) (i32.const 17)))
