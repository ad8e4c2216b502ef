;; tries: memories of 64-bit addresses
;; ends: refused: does not compile
;; world: upload
(module (memory i64 1))
