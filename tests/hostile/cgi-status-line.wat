;; tries: an answer with a status line of HTTP
;; ends: failed: is a status line of HTTP
;; world: cgi
(data (i32.const 1024) "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
(func $run (call $say (i32.const 1024) (i32.const 43)))
