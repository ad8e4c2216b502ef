//! Compression of whole answers, for clients that take it.
//!
//! * [`Wish`]: what a request says of it. [`Wish::grant`]: an answer, compressed or as it was.
//!
//! The rules: **who reads how long an answer is may not learn what is secret in it** (BREACH): an answer to a request with
//! credentials, or that is one client's, stays as it is unless the function says that it is public; and **compression is a
//! courtesy**: it has threads of its own, one of a partner and half of the cores at once, and an answer never waits for one.

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use larder_platform::bodies::AnswerBody;
use larder_platform::directory::Tenant;
use tokio::sync::Semaphore;

/// Smaller answers fit into a packet or two whatever their coding.
const BYTES_MIN: u64 = 1_024;
/// Codings of a request that are looked at.
const CODINGS_MAX: usize = 16;
const GZIP_LEVEL: u32 = 4;
const ZSTD_LEVEL: i32 = 3;
/// Headers by which somebody says who they are.
const CREDENTIALS: [HeaderName; 6] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("x-appwrite-jwt"),
    HeaderName::from_static("x-appwrite-key"),
    HeaderName::from_static("x-appwrite-session"),
];
/// They speak of the bytes as the function gave them.
const DIGESTS: [&str; 5] = ["content-digest", "content-md5", "digest", "repr-digest", "signature"];

/// Of the process.
static AT_ONCE: LazyLock<Semaphore> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Semaphore::new((cores / 2).max(1))
});

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Zstd,
}

/// What a request says of how its answer may be coded.
pub struct Wish {
    coding: Option<Coding>,
    has_credentials: bool,
    is_head: bool,
    wants_part: bool,
}

impl Wish {
    pub fn of<B>(request: &Request<B>) -> Wish {
        let headers = request.headers();
        Wish {
            coding: coding(headers),
            has_credentials: CREDENTIALS.iter().any(|name| headers.contains_key(name)),
            is_head: request.method() == Method::HEAD,
            wants_part: headers.contains_key(header::RANGE),
        }
    }

    /// The answer, compressed if the client takes that, the answer allows it, and there is room for the work.
    pub async fn grant(&self, tenant: &Tenant, mut answer: Response<AnswerBody>) -> Response<AnswerBody> {
        if self.wants_part || !self.allows(answer.status(), answer.headers()) {
            return answer;
        }
        let stated = answer.headers().get(header::CONTENT_LENGTH).and_then(|text| text.to_str().ok()?.parse().ok());
        let bytes = answer.body().size_hint().exact().filter(|bytes| *bytes > 0).or(stated.filter(|_| self.is_head));
        if bytes.is_none_or(|bytes| bytes < BYTES_MIN) {
            return answer;
        }
        vary(answer.headers_mut());
        let Some(coding) = self.coding else { return answer };
        if self.is_head {
            // That of an answer with this body to GET is not known.
            answer.headers_mut().remove(header::CONTENT_LENGTH);
            return answer;
        }
        let (Ok(_process), Ok(_partner)) = (AT_ONCE.try_acquire(), tenant.compressing.try_acquire()) else {
            metrics::counter!("larder_answers_compressed_total", "result" => "no room").increment(1);
            return answer;
        };
        let (mut head, body) = answer.into_parts();
        let Ok(plain) = body.collect().await.map(|whole| whole.to_bytes()) else { unreachable!("it is whole already") };
        let (sent, coded) = tokio::task::spawn_blocking(move || (compress(coding, &plain), plain))
            .await
            .map(|(coded, plain)| match coded.filter(|coded| coded.len() < plain.len()) {
                Some(coded) => (Bytes::from(coded), true),
                None => (plain, false),
            })
            .unwrap_or_else(|err| std::panic::resume_unwind(err.into_panic()));
        metrics::counter!("larder_answers_compressed_total", "result" => if coded { coding.name() } else { "no gain" })
            .increment(1);
        if coded {
            head.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
            head.headers.remove(header::CONTENT_LENGTH);
            // Parts are of the answer as it was.
            head.headers.remove(header::ACCEPT_RANGES);
            weaken(&mut head.headers);
        }
        Response::from_parts(head, Full::new(sent).map_err(|never| match never {}).boxed_unsync())
    }

    /// Does an answer with this head gain by it, and give nothing away?
    fn allows(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        let has_body = !matches!(status.as_u16(), 100..=199 | 204 | 205 | 206 | 304);
        let control = tokens(headers, header::CACHE_CONTROL);
        let is_public = control.iter().any(|word| word == "public") && !control.iter().any(|word| word == "private");
        let is_ones_own = self.has_credentials || headers.contains_key(header::SET_COOKIE);
        let is_ones_own = is_ones_own || control.iter().any(|word| word == "private");
        let varies =
            tokens(headers, header::VARY).iter().any(|name| ["cookie", "authorization", "*"].contains(&&**name));
        has_body
            && (is_public || !(is_ones_own || varies))
            && !control.iter().any(|word| word == "no-transform")
            && ![header::CONTENT_ENCODING, header::CONTENT_RANGE].iter().any(|name| headers.contains_key(name))
            && !DIGESTS.iter().any(|name| headers.contains_key(*name))
            && headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(is_text)
    }
}

impl Coding {
    fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Zstd => "zstd",
        }
    }
}

/// The coding that the client likes best (RFC 9110, section 12.5.3); `None`: it takes the answer as it is.
fn coding(headers: &HeaderMap) -> Option<Coding> {
    let (mut gzip, mut zstd, mut plain, mut any) = (None, None, None, None);
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    for item in values.flat_map(|value| value.split(',')).take(CODINGS_MAX) {
        let mut parts = item.split(';');
        let name = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let weight = parts.find_map(|part| {
            let (key, value) = part.split_once('=')?;
            key.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().ok())
        });
        // A weight that is none is no wish.
        let weight = weight.unwrap_or(Some(1.0)).filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(0.0);
        match name.as_str() {
            "gzip" | "x-gzip" => gzip = Some(weight),
            "zstd" => zstd = Some(weight),
            "identity" => plain = Some(weight),
            "*" => any = Some(weight),
            _ => {}
        }
    }
    let weight = |named: Option<f32>| named.or(any).unwrap_or(0.0);
    let (gzip, zstd, plain) = (weight(gzip), weight(zstd), plain.unwrap_or(0.0));
    let (best, coding) = if zstd >= gzip { (zstd, Coding::Zstd) } else { (gzip, Coding::Gzip) };
    (best > 0.0 && best >= plain).then_some(coding)
}

/// Is it of a type that is text, or compresses like one?
fn is_text(media_type: &str) -> bool {
    const TYPES: [&str; 7] = [
        "application/javascript",
        "application/json",
        "application/wasm",
        "application/x-ndjson",
        "application/xml",
        "application/manifest+json",
        "image/svg+xml",
    ];
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    (media_type.starts_with("text/") && media_type != "text/event-stream")
        || TYPES.contains(&media_type.as_str())
        || (media_type.starts_with("application/") && (media_type.ends_with("+json") || media_type.ends_with("+xml")))
}

/// The words of a header that is a list, in lower case.
fn tokens(headers: &HeaderMap, name: HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|word| word.trim().to_ascii_lowercase()).collect()
}

/// Says that the answer depends on what the client takes.
fn vary(headers: &mut HeaderMap) {
    if !tokens(headers, header::VARY).iter().any(|name| name == "*" || name == "accept-encoding") {
        headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// The same answer in another coding is equivalent, and not equal byte by byte (RFC 9110, section 8.8.1).
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(header::ETAG).filter(|tag| tag.as_bytes().starts_with(b"\"")) else { return };
    if let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()) {
        headers.insert(header::ETAG, weak);
    }
}

fn compress(coding: Coding, plain: &[u8]) -> Option<Vec<u8>> {
    use std::io::Write;
    match coding {
        Coding::Gzip => {
            let to = Vec::with_capacity(plain.len() / 4);
            let mut gzip = flate2::write::GzEncoder::new(to, flate2::Compression::new(GZIP_LEVEL));
            gzip.write_all(plain).ok()?;
            gzip.finish().ok()
        }
        Coding::Zstd => zstd::bulk::compress(plain, ZSTD_LEVEL).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_coding_is_the_one_that_the_client_likes_best() {
        for (accept, expected) in [
            ("gzip", Some(Coding::Gzip)),
            ("GZIP, deflate, br", Some(Coding::Gzip)),
            ("x-gzip", Some(Coding::Gzip)),
            ("gzip, zstd", Some(Coding::Zstd)),
            ("gzip;q=1.0, zstd;q=0.5", Some(Coding::Gzip)),
            ("gzip; Q=0.5 , zstd ; q=0.9", Some(Coding::Zstd)),
            ("*", Some(Coding::Zstd)),
            ("*, zstd;q=0", Some(Coding::Gzip)),
            ("gzip;q=0, zstd;q=0.0", None),
            ("gzip;q=0.5, identity", None),
            ("identity;q=0.5, gzip;q=0.5", Some(Coding::Gzip)),
            ("gzip;q=2, zstd;q=x", None),
            ("br, deflate", None),
            ("identity", None),
            ("", None),
        ] {
            assert_eq!(coding(&map(&[("accept-encoding", accept)])), expected, "{accept}");
        }
        assert_eq!(coding(&HeaderMap::new()), None);
        let many = format!("{}gzip", "br,".repeat(CODINGS_MAX));
        let many = [(header::ACCEPT_ENCODING, many.parse().unwrap())].into_iter().collect();
        assert_eq!(coding(&many), None, "what comes after many codings is not read");
    }

    #[test]
    fn only_what_is_nobodys_secret_and_gains_is_compressed() {
        let wish = |has_credentials| Wish { coding: None, has_credentials, is_head: false, wants_part: false };
        let allows = |has_credentials, status: u16, headers: &[(&'static str, &'static str)]| {
            let all = [&[("content-type", "text/html; charset=utf-8")], headers].concat();
            wish(has_credentials).allows(StatusCode::from_u16(status).unwrap(), &map(&all))
        };
        assert!(allows(false, 200, &[]) && allows(false, 404, &[]));
        assert!(!allows(true, 200, &[]), "who has credentials is answered for themselves");
        assert!(
            allows(true, 200, &[("cache-control", "max-age=60, Public")]),
            "the function says that it is for everybody"
        );
        for (name, value) in [
            ("set-cookie", "a=b"),
            ("cache-control", "private, max-age=60"),
            ("cache-control", "no-transform"),
            ("vary", "Accept, Cookie"),
            ("vary", "authorization"),
            ("vary", "*"),
            ("content-encoding", "br"),
            ("content-range", "bytes 0-1/2"),
            ("content-digest", "sha-256=:x:"),
        ] {
            assert!(!allows(false, 200, &[(name, value)]), "{name}: {value}");
        }
        assert!(!allows(true, 200, &[("cache-control", "public, private")]));
        for status in [204, 205, 206, 304] {
            assert!(!allows(false, status, &[]), "{status}");
        }
        for (media_type, expected) in [
            ("application/json", true),
            ("application/problem+json", true),
            ("image/svg+xml", true),
            ("TEXT/CSS", true),
            ("text/event-stream", false),
            ("image/png", false),
            ("application/octet-stream", false),
            ("application/zip", false),
            ("", false),
        ] {
            assert_eq!(is_text(media_type), expected, "{media_type}");
        }
    }

    #[test]
    fn what_is_said_of_an_answer_stays_true() {
        let mut headers = map(&[("etag", "\"x\""), ("vary", "origin")]);
        vary(&mut headers);
        vary(&mut headers);
        weaken(&mut headers);
        weaken(&mut headers);
        assert_eq!(headers[header::ETAG], "W/\"x\"");
        assert_eq!(tokens(&headers, header::VARY), ["origin", "accept-encoding"]);
        let text = "a line that comes again\n".repeat(1_000);
        let coded = compress(Coding::Zstd, text.as_bytes()).unwrap();
        assert_eq!(zstd::bulk::decompress(&coded, text.len()).unwrap(), text.as_bytes());
        let coded = compress(Coding::Gzip, text.as_bytes()).unwrap();
        let mut back = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&coded[..]), &mut back).unwrap();
        assert_eq!(back, text);
    }
}
