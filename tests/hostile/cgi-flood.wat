;; tries: a body without an end, as fast as it can
;; ends: failed: limit 
;; world: cgi
(func $run
  (call $begin)
  (loop $again (call $say (i32.const 4096) (i32.const 60000)) (br $again)))
