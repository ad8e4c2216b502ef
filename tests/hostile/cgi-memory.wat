;; tries: growing memory until there is none
;; ends: failed: limit memory_bytes
;; world: cgi
(func $run
  (loop $more
    (if (i32.eq (memory.grow $memory (i32.const 16)) (i32.const -1)) (then unreachable))
    (br $more)))
