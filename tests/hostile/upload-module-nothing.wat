;; tries: a core module without anything to call
;; ends: refused: exports nothing that Larder can call
;; world: module
(func (export "main"))
