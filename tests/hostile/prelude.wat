;; Around every entry: one memory, an allocator, and what it takes to answer.
(memory $memory (export "memory") 2)
(global $heap (mut i32) (i32.const 65536))
;; Set by entries that do harm while the host hands something over.
(global $realloc-spins (mut i32) (i32.const 0))
(global $realloc-lies (mut i32) (i32.const 0))
(func $allocate (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (local $at i32)
  (if (global.get $realloc-spins) (then (loop $again (br $again))))
  (if (global.get $realloc-lies) (then (return (i32.const 0x7fff0000))))
  (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
  (global.set $heap (i32.add (local.get $at) (local.get 3)))
  (loop $grow
    (if (i32.gt_u (global.get $heap) (i32.shl (memory.size $memory) (i32.const 16)))
      (then
        (if (i32.eq (memory.grow $memory (i32.const 16)) (i32.const -1)) (then unreachable))
        (br $grow))))
  (local.get $at))
;; Forgets everything that the host has handed over.
(func $forget (global.set $heap (i32.const 65536)))
;; The handler's answer lies at 16: ok(none) until this makes it ok(some(bytes)).
(func $answer (param $at i32) (param $length i32)
  (i32.store8 (i32.const 16) (i32.const 0))
  (i32.store8 (i32.const 20) (i32.const 1))
  (i32.store (i32.const 24) (local.get $at))
  (i32.store (i32.const 28) (local.get $length)))
;; Answers with a number of up to ten digits.
(func $answer-number (param $number i32)
  (local $at i32)
  (local.set $at (i32.const 60))
  (loop $digit
    (local.set $at (i32.sub (local.get $at) (i32.const 1)))
    (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
    (local.set $number (i32.div_u (local.get $number) (i32.const 10)))
    (br_if $digit (local.get $number)))
  (call $answer (local.get $at) (i32.sub (i32.const 60) (local.get $at))))
