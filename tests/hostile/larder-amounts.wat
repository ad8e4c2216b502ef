;; tries: saving nothing, less than nothing, and what is no number
;; ends: answers: 12
(import "larder:function/savings@0.1.0" "create-transaction" (func $create (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
(data (i32.const 1024) "annaSEK00.00-1NaN1e9inf0x101.1.001999999999999999999991,5")
(func $run (param i32 i32)
  (local $refused i32)
  (call $create (i32.const 1) (i32.const 1024) (i32.const 4) (i32.const 1031) (i32.const 1) (i32.const 1028) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32)) ;; 0
  (local.set $refused (i32.add (local.get $refused) (i32.load8_u (i32.const 32))))
  (call $create (i32.const 1) (i32.const 1024) (i32.const 4) (i32.const 1032) (i32.const 4) (i32.const 1028) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32)) ;; 0.00
  (local.set $refused (i32.add (local.get $refused) (i32.load8_u (i32.const 32))))
  (call $create (i32.const 1) (i32.const 1024) (i32.const 4) (i32.const 1036) (i32.const 2) (i32.const 1028) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32)) ;; -1
  (local.set $refused (i32.add (local.get $refused) (i32.load8_u (i32.const 32))))
  (call $create (i32.const 1) (i32.const 1024) (i32.const 4) (i32.const 1038) (i32.const 3) (i32.const 1028) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32)) ;; NaN
  (local.set $refused (i32.add (local.get $refused) (i32.load8_u (i32.const 32))))
  (call $create (i32.const 1) (i32.const 1024) (i32.const 4) (i32.const 1041) (i32.const 3) (i32.const 1028) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32)) ;; 1e9
  (local.set $refused (i32.add (local.get $refused) (i32.load8_u (i32.const 32))))
  (call $create (i32.const 1) (i32.const 1024) (i32.const 4) (i32.const 1044) (i32.const 3) (i32.const 1028) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32)) ;; inf
  (local.set $refused (i32.add (local.get $refused) (i32.load8_u (i32.const 32))))
  (call $create (i32.const 1) (i32.const 1024) (i32.const 4) (i32.const 1047) (i32.const 4) (i32.const 1028) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32)) ;; 0x10
  (local.set $refused (i32.add (local.get $refused) (i32.load8_u (i32.const 32))))
  (call $create (i32.const 1) (i32.const 1024) (i32.const 4) (i32.const 1051) (i32.const 2) (i32.const 1028) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32)) ;; 1.
  (local.set $refused (i32.add (local.get $refused) (i32.load8_u (i32.const 32))))
  (call $create (i32.const 1) (i32.const 1024) (i32.const 4) (i32.const 1053) (i32.const 0) (i32.const 1028) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32)) ;; nothing
  (local.set $refused (i32.add (local.get $refused) (i32.load8_u (i32.const 32))))
  (call $create (i32.const 1) (i32.const 1024) (i32.const 4) (i32.const 1053) (i32.const 5) (i32.const 1028) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32)) ;; 1.001
  (local.set $refused (i32.add (local.get $refused) (i32.load8_u (i32.const 32))))
  (call $create (i32.const 1) (i32.const 1024) (i32.const 4) (i32.const 1058) (i32.const 20) (i32.const 1028) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32)) ;; 99999999999999999999
  (local.set $refused (i32.add (local.get $refused) (i32.load8_u (i32.const 32))))
  (call $create (i32.const 1) (i32.const 1024) (i32.const 4) (i32.const 1078) (i32.const 3) (i32.const 1028) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32)) ;; 1,5
  (local.set $refused (i32.add (local.get $refused) (i32.load8_u (i32.const 32))))
  (call $answer-number (local.get $refused)))
