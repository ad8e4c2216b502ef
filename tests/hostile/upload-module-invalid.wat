;; tries: a core module whose code is not valid
;; ends: refused: expected a i32 but nothing on stack
;; world: module
(memory (export "memory") 1)
(func (export "_start") (i32.add))
