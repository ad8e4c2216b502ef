;; tries: an answer of 50 MB
;; ends: failed: limit response_bytes
(func $run (param i32 i32)
  (drop (memory.grow $memory (i32.const 800)))
  (call $answer (i32.const 65536) (i32.const 50000000)))
