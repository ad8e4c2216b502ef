;; tries: one header without an end
;; ends: failed: its header block is longer than 32768 bytes
;; world: cgi
(data (i32.const 1024) "X-Name: ")
(func $run
  (call $say (i32.const 1024) (i32.const 8))
  (memory.fill $memory (i32.const 4096) (i32.const 120) (i32.const 4096))
  (loop $again (call $say (i32.const 4096) (i32.const 4096)) (br $again)))
