;; tries: memory that threads share
;; ends: refused: does not compile
;; world: upload
(module (memory 1 2 shared))
