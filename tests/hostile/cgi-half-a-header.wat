;; tries: ending in the middle of its header block
;; ends: failed: in the middle of its header block, after 24 bytes
;; world: cgi
(func $run (call $say (i32.const 512) (i32.const 24)))
