;; tries: using a handle that it was never given
;; ends: failed: trapped: unknown handle index
(import "wasi:io/poll@0.2.6" "[method]pollable.block" (func $block (param i32)))
(func $run (param i32 i32)
  (call $block (i32.const 7)))
