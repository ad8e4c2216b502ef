;; Around entries of the typed world: `$run` gets the event's data.
(func (export "larder:function/handler@0.1.0#handle")
  (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
  (call $run (local.get 13) (local.get 14))
  (i32.const 16))
