;; tries: dying in the middle of its header block
;; ends: failed: trapped: 
;; world: cgi
(func $run (call $say (i32.const 512) (i32.const 25)) unreachable)
