;; tries: a core module that imports from elsewhere
;; ends: refused: env.system
;; world: module
(import "env" "system" (func (param i32)))
(func (export "_start"))
