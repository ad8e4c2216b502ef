;; tries: writing to every other descriptor: there is none
;; ends: answers: 0
;; world: cgi
(func $run
  (local $fd i32) (local $found i32)
  (local.set $fd (i32.const 3))
  (loop $next
    (if (i32.eqz (call $write-to (local.get $fd) (i32.const 512) (i32.const 5)))
      (then (local.set $found (i32.add (local.get $found) (i32.const 1)))))
    (br_if $next (i32.lt_u (local.tee $fd (i32.add (local.get $fd) (i32.const 1))) (i32.const 1000))))
  (call $say-number (local.get $found)))
