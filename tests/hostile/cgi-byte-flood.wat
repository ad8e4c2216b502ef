;; tries: a body without an end, byte by byte
;; ends: failed: limit 
;; world: cgi
(func $run
  (call $begin)
  (loop $again (call $say (i32.const 512) (i32.const 1)) (br $again)))
