;; tries: a log without an end
;; ends: failed: limit cpu_ms
;; world: cgi
(func $run
  (loop $again (drop (call $write-to (i32.const 2) (i32.const 4096) (i32.const 60000))) (br $again)))
