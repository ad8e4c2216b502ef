;; tries: an endless loop
;; ends: failed: limit cpu_ms
;; world: cgi
(func $run (loop $again (br $again)))
