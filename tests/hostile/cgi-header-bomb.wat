;; tries: a header block without an end
;; ends: failed: its header block is longer than 32768 bytes
;; world: cgi
(data (i32.const 1024) "X-Name: value\n")
(func $run
  (loop $again (call $say (i32.const 1024) (i32.const 14)) (br $again)))
