//! A wasi:http component without effects, whose answers may stream: the last segment of the path says what it does.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::thread::sleep;
use std::time::Duration;

use hostile::{Body, answer, grow, read, recurse, say, spin, target, trap, write_as};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingRequest, ResponseOutparam, Scheme};

struct Hostile;

wasip2::http::proxy::export!(Hostile);

fn main() {}

impl Guest for Hostile {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let (path, query) = target(&request);
        let begin = |out| Body::begin(out, 200, Fields::new());
        match path.rsplit('/').next().unwrap_or_default() {
            "fine" => answer(out, 200, "fine\n"),

            // Too much.
            "spin" => spin(),
            "grow" => grow(),
            "recurse" => answer(out, 200, &recurse(0).to_string()),
            "sleep" => sleep(Duration::from_secs(100_000)),
            "chatter" => {
                for line in 0..50_000 {
                    println!("line {line} of much too many");
                }
                answer(out, 200, "said it all\n");
            }
            "chatter-for-ever" => loop {
                eprintln!("and another thing");
            },
            "flood" => {
                let body = begin(out);
                while body.write(&[b'x'; 4096]) {}
            }
            "handles" => loop {
                std::mem::forget(Fields::new());
            },
            "random" => {
                let bytes = wasip2::random::random::get_random_bytes(1 << 20);
                answer(out, 200, &bytes.len().to_string());
            }
            "headers" => {
                let headers = Fields::new();
                for _ in 0..40 {
                    headers.append("x-large", &[b'a'; 1024]).expect("a header");
                }
                Body::begin(out, 200, headers).finish();
            }

            // Half an answer.
            "nothing" => {}
            "trap" => trap(),
            "trap-midway" => {
                let body = begin(out);
                body.write(b"half of the ans");
                pause(&query);
                trap();
            }
            "exit-midway" => {
                let body = begin(out);
                body.write(b"half of the ans");
                pause(&query);
                wasip2::cli::exit::exit(Err(()));
            }
            "leave-midway" => {
                let body = begin(out);
                body.write(b"half of the ans");
                pause(&query);
                std::mem::forget(body);
            }
            "spin-midway" => {
                let body = begin(out);
                body.write(b"half of the ans");
                spin();
            }
            "short" => {
                let headers = Fields::new();
                headers.append("content-length", b"100").expect("a header");
                let body = Body::begin(out, 200, headers);
                body.write(b"half of the ans");
                pause(&query);
                drop(body);
            }
            "status" => Body::begin(out, query.parse().expect("a number"), Fields::new()).finish(),

            // Where it has no business.
            "outgoing" => answer(out, 200, &outgoing(&query)),
            "files" => answer(out, 200, &files()),
            "sockets" => answer(out, 200, &sockets(&query)),
            "environment" => answer(out, 200, &environment()),
            "memory" => {
                let body = begin(out);
                let _ = body.write(memory());
                body.finish();
            }

            // What is not a function's to say, and what it is told.
            "attributes" => {
                let headers = Fields::new();
                for (name, value) in [
                    ("clear-site-data", "\"*\""),
                    ("service-worker-allowed", "/"),
                    ("alt-svc", "h3=\"evil.example:443\""),
                    ("strict-transport-security", "max-age=31536000; includeSubDomains"),
                    ("public-key-pins", "max-age=31536000"),
                    ("x-appwrite-execution-id", "forged"),
                    ("x-larder-partner", "forged"),
                    ("larder-front-not-begun", "1"),
                    ("set-cookie", "wide=1; Path=/; Domain=localhost"),
                    ("set-cookie", "narrow=1; Path=/"),
                    ("x-own", "kept"),
                ] {
                    headers.append(name, value.as_bytes()).expect("a header");
                }
                Body::begin(out, 200, headers).finish();
            }
            // An event.
            "" => {
                for (name, value) in request.headers().entries() {
                    println!("{name}: {}", String::from_utf8_lossy(&value));
                }
                answer(out, 200, "");
            }
            "told" => {
                let mut told: Vec<String> = request.headers().entries().into_iter().map(|(name, _)| name).collect();
                told.sort();
                answer(out, 200, &told.join("\n"));
            }

            "scheme" => {
                let scheme = if matches!(request.scheme(), Some(Scheme::Https)) { "https" } else { "http" };
                answer(out, 200, scheme);
            }

            // Streaming.
            "echo" => {
                let body = begin(out);
                if let Err(why) = read(&request, |piece| assert!(body.write(piece), "nobody listens")) {
                    panic!("the request broke off: {why}");
                }
                body.finish();
            }
            "drip" => {
                let body = begin(out);
                while body.write(b"drop\n") {
                    sleep(Duration::from_millis(20));
                }
            }
            "pour" => {
                let body = begin(out);
                let bytes: u32 = query.parse().expect("a number");
                for chunk in 0..bytes / 4096 {
                    body.write(&[b'a' + (chunk % 26) as u8; 4096]);
                }
                body.finish();
            }
            "write" => write_as(&query, out),
            "say" => say(&query, out),
            other => answer(out, 404, &format!("there is no {other}\n")),
        }
    }
}

/// Milliseconds, so that what was written so far has left.
fn pause(query: &str) {
    sleep(Duration::from_millis(query.parse().unwrap_or(0)));
}

fn outgoing(authority: &str) -> String {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).expect("a scheme");
    let path = (!authority.is_empty()).then_some("/");
    request.set_authority(Some(if authority.is_empty() { "127.0.0.1" } else { authority })).expect("an authority");
    request.set_path_with_query(path).expect("a path");
    let pending = match outgoing_handler::handle(request, None) {
        Ok(pending) => pending,
        Err(code) => return format!("{code:?}"),
    };
    pending.subscribe().block();
    match pending.get() {
        Some(Ok(Ok(response))) => format!("status {}", response.status()),
        Some(Ok(Err(code))) => format!("{code:?}"),
        other => format!("{other:?}"),
    }
}

fn files() -> String {
    let mut said = format!("preopens {}\n", wasip2::filesystem::preopens::get_directories().len());
    for path in ["/", ".", "/etc/passwd", "/proc/self/environ", "larder.db"] {
        let opened = std::fs::File::open(path).map(drop).map_err(|err| err.kind());
        let _ = writeln!(said, "{path} {opened:?}");
    }
    let written = std::fs::write("/tmp/larder-hostile", "was here").map_err(|err| err.kind());
    let _ = writeln!(said, "write {written:?}");
    said
}

fn sockets(address: &str) -> String {
    let connected = std::net::TcpStream::connect(address).map(drop).map_err(|err| err.kind());
    let listening = std::net::TcpListener::bind("127.0.0.1:0").map(drop).map_err(|err| err.kind());
    let sent = std::net::UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"hi", address));
    let found = std::net::ToSocketAddrs::to_socket_addrs("localhost:80").map(|found| found.count());
    format!("connect {connected:?}\nlisten {listening:?}\nsend {sent:?}\nlook up {found:?}\n")
}

/// All that there is, after everything was read into it that can be.
fn memory() -> &'static [u8] {
    let _ = environment();
    const BEGIN: usize = 16;
    #[cfg(target_arch = "wasm32")]
    let end = std::arch::wasm32::memory_size::<0>() << 16;
    // Compiled for the host too, and never run there.
    #[cfg(not(target_arch = "wasm32"))]
    let end = BEGIN;
    #[expect(unsafe_code, reason = "the whole linear memory is ours to read")]
    unsafe {
        std::slice::from_raw_parts(BEGIN as *const u8, end - BEGIN)
    }
}

fn environment() -> String {
    let variables: BTreeMap<String, String> = std::env::vars().collect();
    let arguments: Vec<String> = std::env::args().collect();
    let input = std::io::read_to_string(std::io::stdin());
    format!("{variables:?} {arguments:?} {:?}\n", input.map_err(|err| err.kind()))
}
