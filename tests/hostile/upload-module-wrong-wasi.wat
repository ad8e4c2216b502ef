;; tries: a core module that imports WASI by another type
;; ends: refused: fd_write
;; world: module
(import "wasi_snapshot_preview1" "fd_write" (func (param i64)))
(func (export "_start"))
(memory (export "memory") 1)
