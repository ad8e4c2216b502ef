;; tries: atomic instructions
;; ends: refused: does not compile
;; world: upload
(module (memory 1) (func (drop (i32.atomic.load (i32.const 0)))))
