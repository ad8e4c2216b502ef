;; tries: an endless loop
;; ends: failed: limit cpu_ms
(func $run (param i32 i32)
  (loop $again (br $again)))
