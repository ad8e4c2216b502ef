;; tries: a core module of a compiler whose heap would take the memory of the adapter
;; ends: refused: keeps all of its memory for itself
;; world: module
(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
(@custom "go:buildid" "x")
(func (export "_start"))
(memory (export "memory") 1)
