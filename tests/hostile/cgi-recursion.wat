;; tries: calling itself for ever
;; ends: failed: limit stack_bytes
;; world: cgi
(func $run (call $run) (call $run))
