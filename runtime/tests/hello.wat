;; The smallest function: it answers every event with "hello".
(component
  (import "larder:function/event-types@0.1.0" (instance $types
    (type $event' (record (field "id" string) (field "source" string) (field "type" string)
      (field "subject" (option string)) (field "time" string) (field "data-content-type" string)
      (field "data" (list u8))))
    (export "event" (type $event (eq $event')))
    (type $error' (variant (case "retry" string) (case "reject" string)))
    (export "handler-error" (type $error (eq $error')))))
  (alias export $types "event" (type $event))
  (alias export $types "handler-error" (type $error))
  (core module $main
    (memory (export "memory") 1)
    ;; ok(some(bytes)): five bytes at 32.
    (data (i32.const 16) "\00\00\00\00\01\00\00\00\20\00\00\00\05\00\00\00hello")
    (global $heap (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
      (global.set $heap (i32.add (local.get $at) (local.get 3)))
      (local.get $at))
    (func (export "handle") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
      (i32.const 16)))
  (core instance $main (instantiate $main))
  (func $handle (param "e" $event) (result (result (option (list u8)) (error $error)))
    (canon lift (core func $main "handle") (memory $main "memory") (realloc (func $main "realloc"))))
  (instance $handler (export "handle" (func $handle)))
  (export "larder:function/handler@0.1.0" (instance $handler)))
