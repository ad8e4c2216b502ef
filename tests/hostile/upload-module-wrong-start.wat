;; tries: a core module whose _start wants something
;; ends: refused: no component can be made of this core module
;; world: module
(memory (export "memory") 1)
(func (export "_start") (param i32))
