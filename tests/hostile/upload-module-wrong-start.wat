;; tries: a core module whose _start wants something
;; ends: refused: _start
;; world: module
(memory (export "memory") 1)
(func (export "_start") (param i32))
