//! Answers in the coding that their client takes, and those that stay as they are; and trailers.

use std::io::Read;

use larder_tests::{Larder, both, guests};
use reqwest::{Method, Response};
use serde_json::json;

use crate::web::incoming::raw;

const TEXT: &str = "a+line+that+comes+again+";

/// Asks for an answer with a body of about two kilobytes.
async fn ask(larder: &Larder, guest: &str, says: &str, headers: &[(&str, &str)]) -> Response {
    let path = format!("/{guest}/say?{says}&body={}", TEXT.repeat(90));
    let request = larder.web("demo", Method::GET, &path);
    headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value))
        .send()
        .await
        .expect("an answer")
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

both!(answers_are_compressed_for_clients_that_take_it, async |on| {
    let larder = Larder::start_on(on).await;
    for guest in ["hostile", "hostile-saver"] {
        larder.api().deploy(guest, &guests::guest(guest), json!({ "routes": [format!("/{guest}")] })).await;
    }
    let plain = TEXT.replace('+', " ").repeat(90);
    const HTML: &str = "h=content-type:text/html&h=etag:%22a%22&h=accept-ranges:bytes";
    for guest in ["hostile", "hostile-saver"] {
        for (takes, coding) in [("gzip", "gzip"), ("gzip, zstd;q=0.1", "gzip"), ("zstd, gzip", "zstd"), ("*", "zstd")] {
            let answer = ask(&larder, guest, HTML, &[("accept-encoding", takes)]).await;
            assert_eq!(
                (header(&answer, "content-encoding"), header(&answer, "vary")),
                (coding, "accept-encoding"),
                "{takes}"
            );
            assert_eq!((header(&answer, "etag"), header(&answer, "accept-ranges")), ("W/\"a\"", ""));
            let bytes = answer.bytes().await.expect("a body");
            assert!(bytes.len() < 500, "{} bytes", bytes.len());
            let mut text = String::new();
            match coding {
                "gzip" => drop(flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("gzip")),
                _ => text = String::from_utf8(zstd::bulk::decompress(&bytes, 1 << 20).expect("zstd")).expect("text"),
            }
            assert_eq!(text, plain);
        }
        // As they are: for the client's sake, then for the answer's.
        for (headers, varies) in [
            (&[][..], true),
            (&[("accept-encoding", "br, deflate, gzip;q=0, zstd;q=0")], true),
            (&[("accept-encoding", "gzip"), ("range", "bytes=0-9")], false),
            // What is in an answer to somebody is not told by its length (BREACH).
            (&[("accept-encoding", "gzip"), ("cookie", "a=b")], false),
            (&[("accept-encoding", "gzip"), ("authorization", "Bearer x")], false),
            (&[("accept-encoding", "gzip"), ("x-appwrite-jwt", "x")], false),
        ] {
            let answer = ask(&larder, guest, HTML, headers).await;
            assert_eq!(header(&answer, "content-encoding"), "", "{headers:?}");
            assert_eq!(
                (header(&answer, "vary") == "accept-encoding", header(&answer, "etag")),
                (varies, "\"a\""),
                "{headers:?}"
            );
            assert_eq!(answer.text().await.expect("a body"), plain, "{headers:?}");
        }
        for says in [
            "h=content-type:image/png",
            "h=content-type:text/html&h=content-encoding:br",
            "h=content-type:text/html&h=set-cookie:a=b",
            "h=content-type:text/html&h=cache-control:private",
            "h=content-type:text/html&h=cache-control:no-transform",
            "h=content-type:text/html&h=vary:cookie",
            "status=206&h=content-type:text/html&h=content-range:bytes+0-2159/9999",
        ] {
            let answer = ask(&larder, guest, says, &[("accept-encoding", "gzip")]).await;
            assert!(["", "br"].contains(&header(&answer, "content-encoding")), "{says}");
            assert_eq!(answer.text().await.expect("a body"), plain, "{says}");
        }
        // Unless the function says that it is for everybody.
        let public = "h=content-type:text/html&h=cache-control:public,+max-age=60";
        let answer = ask(&larder, guest, public, &[("accept-encoding", "gzip"), ("cookie", "a=b")]).await;
        assert_eq!(header(&answer, "content-encoding"), "gzip");
        // What HEAD is told is true of GET.
        let head = larder.web("demo", Method::HEAD, &format!("/{guest}/say?{HTML}&h=content-length:5000"));
        let answer = head.header("accept-encoding", "gzip").send().await.expect("an answer");
        assert_eq!((header(&answer, "vary"), header(&answer, "content-length")), ("accept-encoding", ""));
    }
    // Under an Idempotency-Key the answer is stored as the function gave it.
    for (takes, coding) in [("gzip", "gzip"), ("", ""), ("zstd", "zstd")] {
        let path = format!("/hostile-saver/say?h=content-type:text/plain&body={}", TEXT.repeat(90));
        let request = larder.web("demo", Method::POST, &path).header("idempotency-key", "one-key-that-is-long");
        let answer = request.header("accept-encoding", takes).send().await.expect("an answer");
        assert_eq!((answer.status().as_u16(), header(&answer, "content-encoding")), (200, coding));
    }
    let metrics = larder.internal("/metrics").await.1;
    assert!(metrics.contains(r#"larder_answers_compressed_total{result="gzip"}"#), "{metrics}");
});

both!(trailers_reach_clients_that_read_them, async |on| {
    let larder = Larder::start_on(on).await;
    for guest in ["hostile", "hostile-saver"] {
        larder.api().deploy(guest, &guests::guest(guest), json!({ "routes": [format!("/{guest}")] })).await;
    }
    let says =
        "h=trailer:x-sum,+set-cookie&body=hello&trailer=x-sum:7&trailer=set-cookie:a=b&trailer=x-larder-partner:x";
    let get = async |guest: &str, says: &str, te: &str| {
        let head =
            format!("GET /{guest}/say?{says} HTTP/1.1\r\nhost: demo.localhost\r\nconnection: close, te\r\n{te}\r\n");
        raw(&larder, head.as_bytes()).await.1
    };
    let sent = get("hostile", says, "te: trailers\r\n").await;
    assert!(sent.contains("trailer: x-sum") && sent.ends_with("5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n"), "{sent:?}");
    for (guest, te) in [("hostile", ""), ("hostile", "te: gzip\r\n"), ("hostile-saver", "te: trailers\r\n")] {
        let sent = get(guest, says, te).await;
        assert!(sent.ends_with("\r\n\r\nhello") && !sent.contains("x-sum: 7"), "{guest} {te}: {sent:?}");
    }
    let many = format!("body=hello&trailer=x-sum:{}", "x".repeat(20_000));
    let sent = get("hostile", &many, "te: trailers\r\n").await;
    assert!(!sent.contains("xxxx"), "trailers are bounded");
});
