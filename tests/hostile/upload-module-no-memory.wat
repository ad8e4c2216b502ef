;; tries: a core module without a memory that calls WASI
;; ends: refused: exports no memory
;; world: module
(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
(func (export "_start"))
