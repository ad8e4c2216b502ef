;; tries: types that contain themselves
;; ends: refused: does not compile
;; world: upload
(module (rec (type $a (struct (field (ref null $b)))) (type $b (struct (field (ref null $a))))))
