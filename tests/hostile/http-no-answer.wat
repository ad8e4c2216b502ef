;; tries: returning without an answer
;; ends: failed: the function returned without a response
;; world: http
(func $run (param $out i32)
)
