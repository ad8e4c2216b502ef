;; tries: a call of a function that is not there
;; ends: refused: does not compile
;; world: upload
(module (func (call 7)))
