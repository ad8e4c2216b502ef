;; tries: overlapping copies of 60 MiB
;; ends: failed: limit cpu_ms
(func $run (param i32 i32)
  (drop (memory.grow $memory (i32.const 958)))
  (loop $again
    (memory.copy $memory $memory (i32.const 65537) (i32.const 65536) (i32.const 62783000))
    (br $again)))
