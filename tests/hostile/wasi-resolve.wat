;; tries: looking up a name
;; ends: answers: 1
(import "wasi:sockets/instance-network@0.2.6" "instance-network" (func $network (result i32)))
(import "wasi:sockets/ip-name-lookup@0.2.6" "resolve-addresses" (func $resolve (param i32 i32 i32 i32)))
(data (i32.const 1024) "localhost")
(func $run (param i32 i32)
  (call $resolve (call $network) (i32.const 1024) (i32.const 9) (i32.const 32))
  (call $answer-number (i32.load8_u (i32.const 32))))
