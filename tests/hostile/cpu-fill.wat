;; tries: single instructions that last: fills of 60 MiB
;; ends: failed: limit cpu_ms
(func $run (param i32 i32)
  (drop (memory.grow $memory (i32.const 958)))
  (loop $again
    (memory.fill $memory (i32.const 65536) (i32.const 7) (i32.const 62783488))
    (br $again)))
