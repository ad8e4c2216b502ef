;; tries: growing memory by nothing, for ever
;; ends: failed: limit cpu_ms
(func $run (param i32 i32)
  (loop $again
    (drop (memory.grow $memory (i32.const 0)))
    (br $again)))
