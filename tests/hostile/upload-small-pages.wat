;; tries: pages of one byte
;; ends: refused: does not compile
;; world: upload
(module (memory 1 (pagesize 1)))
