;; tries: ending without an answer
;; ends: failed: ended without an answer
;; world: cgi
(func $run)
