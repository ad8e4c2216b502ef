;; tries: stacks of its own
;; ends: refused: does not compile
;; world: upload
(module (type $f (func)) (type $c (cont $f)) (func (param (ref null $c))))
