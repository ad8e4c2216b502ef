;; tries: making a UDP socket
;; ends: answers: 1
(import "wasi:sockets/udp-create-socket@0.2.6" "create-udp-socket" (func $create (param i32 i32)))
(func $run (param i32 i32)
  ;; err(access-denied) is 1 and 1.
  (call $create (i32.const 0) (i32.const 32))
  (call $answer-number (i32.and (i32.load8_u (i32.const 32)) (i32.eq (i32.load8_u (i32.const 36)) (i32.const 1)))))
