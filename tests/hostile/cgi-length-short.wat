;; tries: promising more bytes than it sends
;; ends: failed: content-length is 100
;; world: cgi
(data (i32.const 1024) "Status: 200\nContent-Length: 100\n\nhello")
(func $run (call $say (i32.const 1024) (i32.const 38)))
