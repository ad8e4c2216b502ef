;; tries: an unreachable instruction
;; ends: failed: trapped: wasm trap: wasm `unreachable`
(func $run (param i32 i32)
  unreachable)
