;; tries: handing the host a value of 20 MB
;; ends: failed: limit host_resources
(import "larder:function/state@0.1.0" "set" (func $set-state (param i32 i32 i32 i32 i32)))
(data (i32.const 1024) "key")
(func $run (param i32 i32)
  (drop (memory.grow $memory (i32.const 400)))
  (call $set-state (i32.const 1024) (i32.const 3) (i32.const 65536) (i32.const 20000000) (i32.const 32)))
