;; tries: trailers behind its body: they are left out of an answer that leaves whole
;; ends: answers: 
;; world: http
(data (i32.const 1024) "x-name")
(global $trailers (mut i32) (i32.const 0))
(func $run (param $out i32)
  (call $begin (local.get $out) (call $fields) (i32.const 200))
  (global.set $trailers (call $fields))
  (call $append (global.get $trailers) (i32.const 1024) (i32.const 6) (i32.const 1024) (i32.const 6) (i32.const 32))
  (call $drop-stream (global.get $the-stream))
  (call $finish-body (global.get $the-body) (i32.const 1) (global.get $trailers) (i32.const 128)))
