;; tries: dying in the middle of its body
;; ends: failed: trapped: 
;; world: cgi
(func $run (call $begin) (call $say (i32.const 512) (i32.const 5)) unreachable)
