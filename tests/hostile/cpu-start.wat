;; tries: an endless loop in the start function, before anything is called
;; ends: failed: limit cpu_ms
(func $spin (loop $again (br $again)))
(start $spin)
(func $run (param i32 i32)
)
