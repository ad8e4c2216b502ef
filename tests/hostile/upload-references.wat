;; tries: typed references to functions
;; ends: refused: does not compile
;; world: upload
(module (type $f (func)) (func (param (ref $f)) (call_ref $f (local.get 0))))
