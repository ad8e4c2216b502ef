;; tries: a core module whose code is not valid
;; ends: refused: no component can be made of this core module
;; world: module
(memory (export "memory") 1)
(func (export "_start") (i32.add))
