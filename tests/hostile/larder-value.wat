;; tries: a value of a byte too many
;; ends: answers: value has 65537 bytes
(import "larder:function/state@0.1.0" "set" (func $set-state (param i32 i32 i32 i32 i32)))
(data (i32.const 1024) "key")
(func $run (param i32 i32)
  (drop (memory.grow $memory (i32.const 2)))
  (call $set-state (i32.const 1024) (i32.const 3) (i32.const 65536) (i32.const 65537) (i32.const 32))
  (call $answer (i32.load (i32.const 36)) (i32.load (i32.const 40))))
