;; tries: a refusal of 6 MB
;; ends: failed: rejected: xxx
(func $run (param i32 i32)
  (drop (memory.grow $memory (i32.const 100)))
  (memory.fill $memory (i32.const 65536) (i32.const 120) (i32.const 6000000))
  ;; err(reject(text))
  (i32.store8 (i32.const 16) (i32.const 1))
  (i32.store8 (i32.const 20) (i32.const 1))
  (i32.store (i32.const 24) (i32.const 65536))
  (i32.store (i32.const 28) (i32.const 6000000)))
