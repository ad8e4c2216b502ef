//! Guests in the component text format: small enough to do one thing wrong.

/// A component of the typed world. `core` is put into its module and must define
/// `(func $run (param $data i32) (param $length i32) (result i32))`, which gets the event's data and gives a pointer to
/// a `result<option<list<u8>>, handler-error>`.
///
/// There are `$answer (ptr, len)` and `$reject (ptr, len)` to make one, the memory, and the imports `$set $get
/// $increment $create $random` (arguments flattened, last one the return pointer); `$mint` makes a handle.
pub fn typed(core: &str) -> Vec<u8> {
    typed_with("", core)
}

/// The same with more in the component itself.
pub fn typed_with(more: &str, core: &str) -> Vec<u8> {
    typed_from(&More { component: more, ..More::default() }, core)
}

/// What a component has beyond that of [`typed`].
#[derive(Default)]
struct More<'a> {
    /// In the component itself.
    component: &'a str,
    /// In the component, after its memory.
    lowered: &'a str,
    /// In its module: imports of the instance `more`.
    imports: &'a str,
    /// In that instance.
    exports: &'a str,
}

fn typed_from(More { component, lowered, imports, exports }: &More<'_>, core: &str) -> Vec<u8> {
    binary(&format!(
        r#"(component
  (import "wasi:random/random@0.2.6" (instance $chance
    (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
  (type $token (resource (rep i32)))
  (core func $mint (canon resource.new $token))
  {component}
  (import "larder:function/event-types@0.1.0" (instance $types
    (type $event' (record (field "id" string) (field "source" string) (field "type" string)
      (field "subject" (option string)) (field "time" string) (field "data-content-type" string)
      (field "data" (list u8))))
    (export "event" (type $event (eq $event')))
    (type $error' (variant (case "retry" string) (case "reject" string)))
    (export "handler-error" (type $error (eq $error')))))
  (import "larder:function/state@0.1.0" (instance $state
    (export "get" (func (param "key" string) (result (result (option (list u8)) (error string)))))
    (export "set" (func (param "key" string) (param "value" (list u8)) (result (result (error string)))))
    (export "increment" (func (param "key" string) (param "by" string) (result (result (error string)))))))
  (import "larder:function/savings@0.1.0" (instance $savings
    (type $transaction' (record (field "end-user" (option string)) (field "amount" string) (field "currency" string)
      (field "memo" (option string))))
    (export "transaction" (type $transaction (eq $transaction')))
    (export "create-transaction" (func (param "t" $transaction) (result (result string (error string)))))))
  (alias export $types "event" (type $event))
  (alias export $types "handler-error" (type $error))
  (core module $libc
    (memory (export "memory") 2)
    (global $heap (mut i32) (i32.const 65536))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
      (global.set $heap (i32.add (local.get $at) (local.get 3)))
      (local.get $at)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))
  (core func $get (canon lower (func $state "get") (memory $memory) (realloc $realloc)))
  (core func $set (canon lower (func $state "set") (memory $memory) (realloc $realloc)))
  (core func $increment (canon lower (func $state "increment") (memory $memory) (realloc $realloc)))
  (core func $create (canon lower (func $savings "create-transaction") (memory $memory) (realloc $realloc)))
  (core func $random (canon lower (func $chance "get-random-bytes") (memory $memory) (realloc $realloc)))
  {lowered}
  (core module $main
    (import "libc" "memory" (memory 2))
    (import "host" "random" (func $random (param i64 i32)))
    (import "host" "mint" (func $mint (param i32) (result i32)))
    (import "host" "get" (func $get (param i32 i32 i32)))
    (import "host" "set" (func $set (param i32 i32 i32 i32 i32)))
    (import "host" "increment" (func $increment (param i32 i32 i32 i32 i32)))
    (import "host" "create" (func $create (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
    {imports}
    (data (i32.const 0) "key value 1 SEK 12.5")
    (func $answer (param $at i32) (param $length i32) (result i32)
      (i32.store (i32.const 512) (i32.const 0))
      (i32.store (i32.const 516) (i32.const 1))
      (i32.store (i32.const 520) (local.get $at))
      (i32.store (i32.const 524) (local.get $length))
      (i32.const 512))
    (func $reject (param $at i32) (param $length i32) (result i32)
      (i32.store (i32.const 512) (i32.const 1))
      (i32.store (i32.const 516) (i32.const 1))
      (i32.store (i32.const 520) (local.get $at))
      (i32.store (i32.const 524) (local.get $length))
      (i32.const 512))
    {core}
    (func (export "handle") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
      (call $run (local.get 13) (local.get 14))))
  (core instance $main (instantiate $main
    (with "libc" (instance $libc))
    (with "host" (instance (export "get" (func $get)) (export "set" (func $set)) (export "increment" (func $increment))
      (export "create" (func $create)) (export "random" (func $random)) (export "mint" (func $mint))))
    (with "more" (instance {exports}))))
  (func $handle (param "e" $event) (result (result (option (list u8)) (error $error)))
    (canon lift (core func $main "handle") (memory $memory) (realloc $realloc)))
  (instance $handler (export "handle" (func $handle)))
  (export "larder:function/handler@0.1.0" (instance $handler)))"#
    ))
}

/// A component of the HTTP world. `core` must define `(func $run (param $out i32))`. There are `$begin (out, status)`,
/// which sends a head, `$write (length)`, `$finish`, and `$fail (out)`, which answers with an error code; and `$fields`
/// and `$append` as they are imported.
pub fn http(core: &str) -> Vec<u8> {
    binary(&format!(
        r#"(component
  (import "wasi:io/error@0.2.6" (instance $errors (export "error" (type (sub resource)))))
  (alias export $errors "error" (type $io-error))
  (import "wasi:io/streams@0.2.6" (instance $streams
    (export "output-stream" (type $output-stream (sub resource)))
    (alias outer 1 $io-error (type $io-error))
    (type $stream-error' (variant (case "last-operation-failed" (own $io-error)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $stream-error')))
    (export "[method]output-stream.blocking-write-and-flush" (func (param "self" (borrow $output-stream))
      (param "contents" (list u8)) (result (result (error $stream-error)))))))
  (alias export $streams "output-stream" (type $output-stream))
  (import "wasi:http/types@0.2.6" (instance $http
    (alias outer 1 $output-stream (type $output-stream))
    (export "incoming-request" (type $incoming-request (sub resource)))
    (export "response-outparam" (type $response-outparam (sub resource)))
    (export "outgoing-response" (type $outgoing-response (sub resource)))
    (export "outgoing-body" (type $outgoing-body (sub resource)))
    (export "fields" (type $fields (sub resource)))
    {ERROR_CODE}
    (export "[constructor]fields" (func (result (own $fields))))
    (type $wrong' (variant (case "invalid-syntax") (case "forbidden") (case "immutable")))
    (export "header-error" (type $wrong (eq $wrong')))
    (export "[method]fields.append" (func (param "self" (borrow $fields)) (param "name" string)
      (param "value" (list u8)) (result (result (error $wrong)))))
    (export "[constructor]outgoing-response" (func (param "headers" (own $fields)) (result (own $outgoing-response))))
    (export "[method]outgoing-response.set-status-code" (func (param "self" (borrow $outgoing-response))
      (param "status-code" u16) (result (result))))
    (export "[method]outgoing-response.body" (func (param "self" (borrow $outgoing-response))
      (result (result (own $outgoing-body)))))
    (export "[method]outgoing-body.write" (func (param "self" (borrow $outgoing-body))
      (result (result (own $output-stream)))))
    (export "[static]outgoing-body.finish" (func (param "this" (own $outgoing-body))
      (param "trailers" (option (own $fields))) (result (result (error $code)))))
    (export "[static]response-outparam.set" (func (param "param" (own $response-outparam))
      (param "response" (result (own $outgoing-response) (error $code)))))))
  (alias export $http "incoming-request" (type $incoming-request))
  (alias export $http "response-outparam" (type $response-outparam))
  (core module $libc
    (memory (export "memory") 2)
    (global $heap (mut i32) (i32.const 65536))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
      (global.set $heap (i32.add (local.get $at) (local.get 3)))
      (local.get $at)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))
  (core func $fields (canon lower (func $http "[constructor]fields")))
  (core func $append (canon lower (func $http "[method]fields.append") (memory $memory) (realloc $realloc)))
  (core func $response (canon lower (func $http "[constructor]outgoing-response")))
  (core func $status (canon lower (func $http "[method]outgoing-response.set-status-code")))
  (core func $body (canon lower (func $http "[method]outgoing-response.body") (memory $memory)))
  (core func $stream (canon lower (func $http "[method]outgoing-body.write") (memory $memory)))
  (core func $finish (canon lower (func $http "[static]outgoing-body.finish") (memory $memory) (realloc $realloc)))
  (core func $set (canon lower (func $http "[static]response-outparam.set") (memory $memory) (realloc $realloc)))
  (core func $write (canon lower (func $streams "[method]output-stream.blocking-write-and-flush") (memory $memory)))
  (core func $drop (canon resource.drop $output-stream))
  (core module $main
    (import "libc" "memory" (memory 2))
    (import "host" "fields" (func $fields (result i32)))
    (import "host" "append" (func $append (param i32 i32 i32 i32 i32 i32)))
    (import "host" "response" (func $response (param i32) (result i32)))
    (import "host" "status" (func $status (param i32 i32) (result i32)))
    (import "host" "body" (func $body (param i32 i32)))
    (import "host" "stream" (func $stream (param i32 i32)))
    (import "host" "finish" (func $finish-body (param i32 i32 i32 i32)))
    (import "host" "set" (func $set (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
    (import "host" "write" (func $write-stream (param i32 i32 i32 i32)))
    (import "host" "drop" (func $drop (param i32)))
    (data (i32.const 1024) "hello hello hello hello ")
    (global $the-body (mut i32) (i32.const 0))
    (global $the-stream (mut i32) (i32.const 0))
    (func $begin (param $out i32) (param $code i32)
      (local $answer i32)
      (local.set $answer (call $response (call $fields)))
      (drop (call $status (local.get $answer) (local.get $code)))
      (call $body (local.get $answer) (i32.const 64))
      (global.set $the-body (i32.load (i32.const 68)))
      (call $stream (global.get $the-body) (i32.const 64))
      (global.set $the-stream (i32.load (i32.const 68)))
      (call $set (local.get $out) (i32.const 0) (local.get $answer) (i32.const 0) (i64.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const 0)))
    (func $fail (param $out i32)
      (call $set (local.get $out) (i32.const 1) (i32.const 36) (i32.const 0) (i64.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const 0)))
    (func $write (param $length i32)
      (call $write-stream (global.get $the-stream) (i32.const 1024) (local.get $length) (i32.const 64)))
    (func $finish
      (call $drop (global.get $the-stream))
      (call $finish-body (global.get $the-body) (i32.const 0) (i32.const 0) (i32.const 128)))
    {core}
    (func (export "handle") (param i32 i32) (call $run (local.get 1))))
  (core instance $main (instantiate $main
    (with "libc" (instance $libc))
    (with "host" (instance (export "fields" (func $fields)) (export "append" (func $append))
      (export "response" (func $response))
      (export "status" (func $status)) (export "body" (func $body)) (export "stream" (func $stream))
      (export "finish" (func $finish)) (export "set" (func $set)) (export "write" (func $write))
      (export "drop" (func $drop))))))
  (func $handle (param "request" (own $incoming-request)) (param "response-out" (own $response-outparam))
    (canon lift (core func $main "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.6" (instance $handler)))"#
    ))
}

/// Any component that exports the typed handler's name and nothing real behind it.
pub fn binary(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|err| panic!("{err}"))
}

/// Answers `value`, the five bytes at 4.
pub const ANSWERS: &str = "(func $run (param i32 i32) (result i32) (call $answer (i32.const 4) (i32.const 5)))";
/// Answers with the event's data.
pub const ECHOES: &str = "(func $run (param i32 i32) (result i32) (call $answer (local.get 0) (local.get 1)))";
/// Answers 200 and `hello`.
pub const HELLO: &str = "(func $run (param i32)
    (call $begin (local.get 0) (i32.const 200)) (call $write (i32.const 5)) (call $finish))";

/// Asks for everything that a host can tell, once, and answers with the memory that it was told in: 66 KiB from 2,048 on.
/// It signs for the upstream `key` and calls `https://value/`.
pub fn asks_for_everything() -> Vec<u8> {
    let component = format!(
        r#"
  (import "wasi:random/insecure@0.2.6" (instance $insecure (export "get-insecure-random-u64" (func (result u64)))))
  (import "wasi:random/insecure-seed@0.2.6" (instance $seed (export "insecure-seed" (func (result (tuple u64 u64))))))
  (import "wasi:clocks/wall-clock@0.2.6" (instance $wall
    (type $datetime' (record (field "seconds" u64) (field "nanoseconds" u32)))
    (export "datetime" (type $datetime (eq $datetime')))
    (export "now" (func (result $datetime)))))
  (import "wasi:clocks/monotonic-clock@0.2.6" (instance $monotonic (export "now" (func (result u64)))))
  (import "wasi:cli/environment@0.2.6" (instance $environment
    (export "get-environment" (func (result (list (tuple string string)))))))
  (import "larder:function/enrolment@0.1.0" (instance $enrolment
    (type $details' (record (field "end-user" string) (field "topic" string) (field "settings" string)))
    (export "details" (type $details (eq $details')))
    (export "current" (func (result (option $details))))))
  (import "larder:function/signing@0.1.0" (instance $signing
    (export "sign" (func (param "upstream" string) (param "data" (list u8))
      (result (result (list u8) (error string)))))))
  (import "wasi:io/poll@0.2.6" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:http/types@0.2.6" (instance $http
    (alias outer 1 $pollable (type $pollable))
    (export "fields" (type $fields (sub resource)))
    (export "outgoing-request" (type $request (sub resource)))
    (export "request-options" (type $options (sub resource)))
    (export "future-incoming-response" (type $future (sub resource)))
    {ERROR_CODE}
    (export "[constructor]fields" (func (result (own $fields))))
    (export "[constructor]outgoing-request" (func (param "headers" (own $fields)) (result (own $request))))
    (export "[method]outgoing-request.set-authority" (func (param "self" (borrow $request))
      (param "authority" (option string)) (result (result))))
    (export "[method]outgoing-request.set-path-with-query" (func (param "self" (borrow $request))
      (param "path-with-query" (option string)) (result (result))))
    (export "[method]future-incoming-response.subscribe" (func (param "self" (borrow $future))
      (result (own $pollable))))))
  (alias export $http "outgoing-request" (type $request))
  (alias export $http "request-options" (type $options))
  (alias export $http "future-incoming-response" (type $future))
  (alias export $http "error-code" (type $code))
  (import "wasi:http/outgoing-handler@0.2.6" (instance $outgoing
    (alias outer 1 $request (type $request))
    (alias outer 1 $options (type $options))
    (alias outer 1 $future (type $future))
    (alias outer 1 $code (type $code))
    (export "handle" (func (param "request" (own $request)) (param "options" (option (own $options)))
      (result (result (own $future) (error $code)))))))"#
    );
    let exports = [
        ("insecure", r#"$insecure "get-insecure-random-u64""#),
        ("seed", r#"$seed "insecure-seed""#),
        ("wall", r#"$wall "now""#),
        ("monotonic", r#"$monotonic "now""#),
        ("environment", r#"$environment "get-environment""#),
        ("enrolment", r#"$enrolment "current""#),
        ("sign", r#"$signing "sign""#),
        ("fields", r#"$http "[constructor]fields""#),
        ("request", r#"$http "[constructor]outgoing-request""#),
        ("authority", r#"$http "[method]outgoing-request.set-authority""#),
        ("path", r#"$http "[method]outgoing-request.set-path-with-query""#),
        ("subscribe", r#"$http "[method]future-incoming-response.subscribe""#),
        ("block", r#"$poll "[method]pollable.block""#),
        ("send", r#"$outgoing "handle""#),
    ];
    let lowered = exports.map(|(name, function)| {
        format!("(core func $more-{name} (canon lower (func {function}) (memory $memory) (realloc $realloc)))\n")
    });
    let exports = exports.map(|(name, _)| format!("(export \"{name}\" (func $more-{name}))"));
    let more = More {
        component: &component,
        lowered: &lowered.concat(),
        imports: r#"
    (import "more" "insecure" (func $insecure (result i64)))
    (import "more" "seed" (func $seed (param i32)))
    (import "more" "wall" (func $wall (param i32)))
    (import "more" "monotonic" (func $monotonic (result i64)))
    (import "more" "environment" (func $environment (param i32)))
    (import "more" "enrolment" (func $enrolment (param i32)))
    (import "more" "sign" (func $sign (param i32 i32 i32 i32 i32)))
    (import "more" "fields" (func $fields (result i32)))
    (import "more" "request" (func $request (param i32) (result i32)))
    (import "more" "authority" (func $authority (param i32 i32 i32 i32) (result i32)))
    (import "more" "path" (func $path (param i32 i32 i32 i32) (result i32)))
    (import "more" "subscribe" (func $subscribe (param i32) (result i32)))
    (import "more" "block" (func $block (param i32)))
    (import "more" "send" (func $send (param i32 i32 i32 i32)))"#,
        exports: &exports.concat(),
    };
    typed_from(
        &more,
        "(func $run (param i32 i32) (result i32) (local $request i32)
          (i64.store (i32.const 2048) (call $insecure))
          (call $seed (i32.const 2056))
          (call $wall (i32.const 2080))
          (i64.store (i32.const 2096) (call $monotonic))
          (call $environment (i32.const 2104))
          (call $enrolment (i32.const 2112))
          (call $random (i64.const 16) (i32.const 2144))
          (call $get (i32.const 0) (i32.const 3) (i32.const 2152))
          (call $create (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 4) (i32.const 12)
            (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2176))
          (call $sign (i32.const 0) (i32.const 3) (i32.const 4) (i32.const 5) (i32.const 2192))
          (local.set $request (call $request (call $fields)))
          (drop (call $authority (local.get $request) (i32.const 1) (i32.const 4) (i32.const 5)))
          (i32.store8 (i32.const 600) (i32.const 0x2f))
          (drop (call $path (local.get $request) (i32.const 1) (i32.const 600) (i32.const 1)))
          (call $send (local.get $request) (i32.const 0) (i32.const 0) (i32.const 2208))
          (if (i32.load8_u (i32.const 2208)) (then unreachable))
          (call $block (call $subscribe (i32.load (i32.const 2216))))
          (call $answer (i32.const 2048) (i32.const 67584)))",
    )
}

/// The type of wasi:http's error codes.
const ERROR_CODE: &str = r#"(type $dns' (record (field "rcode" (option string)) (field "info-code" (option u16))))
    (export "DNS-error-payload" (type $dns (eq $dns')))
    (type $tls' (record (field "alert-id" (option u8)) (field "alert-message" (option string))))
    (export "TLS-alert-received-payload" (type $tls (eq $tls')))
    (type $size' (record (field "field-name" (option string)) (field "field-size" (option u32))))
    (export "field-size-payload" (type $size (eq $size')))
    (type $code' (variant (case "DNS-timeout") (case "DNS-error" $dns) (case "destination-not-found")
      (case "destination-unavailable") (case "destination-IP-prohibited") (case "destination-IP-unroutable")
      (case "connection-refused") (case "connection-terminated") (case "connection-timeout")
      (case "connection-read-timeout") (case "connection-write-timeout") (case "connection-limit-reached")
      (case "TLS-protocol-error") (case "TLS-certificate-error") (case "TLS-alert-received" $tls)
      (case "HTTP-request-denied") (case "HTTP-request-length-required") (case "HTTP-request-body-size" (option u64))
      (case "HTTP-request-method-invalid") (case "HTTP-request-URI-invalid") (case "HTTP-request-URI-too-long")
      (case "HTTP-request-header-section-size" (option u32)) (case "HTTP-request-header-size" (option $size))
      (case "HTTP-request-trailer-section-size" (option u32)) (case "HTTP-request-trailer-size" $size)
      (case "HTTP-response-incomplete") (case "HTTP-response-header-section-size" (option u32))
      (case "HTTP-response-header-size" $size) (case "HTTP-response-body-size" (option u64))
      (case "HTTP-response-trailer-section-size" (option u32)) (case "HTTP-response-trailer-size" $size)
      (case "HTTP-response-transfer-coding" (option string)) (case "HTTP-response-content-coding" (option string))
      (case "HTTP-response-timeout") (case "HTTP-upgrade-failed") (case "HTTP-protocol-error") (case "loop-detected")
      (case "configuration-error") (case "internal-error" (option string))))
    (export "error-code" (type $code (eq $code')))"#;

/// A typed guest that has an engine beside its own module, byte for byte the same for every program: it answers with
/// `factor` times 3.
pub fn with_engine(factor: u8) -> Vec<u8> {
    let engine = format!(
        r#"(core module $engine
          (import "libc" "memory" (memory 2))
          (func (export "triple") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3)))
          (data "{}"))"#,
        "x".repeat(200 << 10)
    );
    let more = More {
        component: &engine,
        lowered: r#"(core instance $engine (instantiate $engine (with "libc" (instance $libc))))
          (alias core export $engine "triple" (core func $triple))"#,
        imports: r#"(import "more" "triple" (func $triple (param i32) (result i32)))"#,
        exports: r#"(export "triple" (func $triple))"#,
    };
    let run = format!(
        "(func $run (param i32 i32) (result i32)
           (i32.store8 (i32.const 600) (call $triple (i32.const {factor})))
           (call $answer (i32.const 600) (i32.const 1)))"
    );
    typed_from(&more, &run)
}
