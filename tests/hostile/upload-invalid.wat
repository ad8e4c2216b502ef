;; tries: an instruction without its operands
;; ends: refused: does not compile
;; world: upload
(module (func (i32.add)))
