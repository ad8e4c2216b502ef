;; tries: giving its right to answer away
;; ends: failed: the function returned without a response
;; world: http
(import "wasi:http/types@0.2.6" "[resource-drop]response-outparam" (func $drop-out (param i32)))
(func $run (param $out i32)
  (call $drop-out (local.get $out)))
