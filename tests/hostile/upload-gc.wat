;; tries: objects that a collector would have to follow
;; ends: refused: does not compile
;; world: upload
(module (type (struct (field (mut i32)))))
