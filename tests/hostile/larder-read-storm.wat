;; tries: reading one key after the other, a query each
;; ends: failed: limit host_resources
(import "larder:function/state@0.1.0" "get" (func $get (param i32 i32 i32)))
(data (i32.const 1024) "key")
(func $run (param i32 i32)
  (loop $again
    (call $forget)
    (i32.store (i32.const 1024) (i32.or (i32.const 0x30303030) (i32.and (i32.add (i32.load (i32.const 1024)) (i32.const 1)) (i32.const 0x0f0f0f0f))))
    (call $get (i32.const 1024) (i32.const 4) (i32.const 32))
    (br $again)))
