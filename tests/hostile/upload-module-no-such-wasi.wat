;; tries: a core module that imports what WASI never had
;; ends: refused: did not export `fork`
;; world: module
(import "wasi_snapshot_preview1" "fork" (func (result i32)))
(func (export "_start"))
(memory (export "memory") 1)
