;; tries: exceptions
;; ends: refused: does not compile
;; world: upload
(module (tag) (func (throw 0)))
