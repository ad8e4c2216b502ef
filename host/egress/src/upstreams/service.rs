//! An upstream prepared for calls: its destination, its credential, its scrubber and its limiter.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use form_urlencoded::Serializer;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use larder_model::net::authority::Authority;
use larder_model::net::http_rule;
use larder_model::time::Millis;
use larder_model::upstreams::{Base, CredentialKind, UpstreamSettings};
use larder_model::{Scheme, Upstream};
use ring::hmac;

use crate::client::strip;
use crate::upstreams::UpstreamView;
use crate::upstreams::limiter::Limiter;
use crate::upstreams::scrub::Scrubber;
use crate::{Destination, Error};

/// Request headers with which a function could make a service send partial responses or use another charset, so that the
/// scrubber would not find an echoed credential.
const MAKES_PARTS: [&str; 4] = ["range", "if-range", "a-im", "accept-charset"];

pub struct Service {
    pub upstream: Upstream,
    pub to: Destination,
    path: String,
    credential: Credential,
    pub scrubber: Scrubber,
    pub limiter: Limiter,
}

enum Credential {
    None,
    Header(HeaderName, HeaderValue),
    Query { name: String, value: String },
    Key(hmac::Key),
}

/// Parses an upstream's URL and networks into its destination and base path.
pub fn destination(settings: &UpstreamSettings) -> Result<(Destination, String), (&'static str, String)> {
    let base = Base::parse(&settings.url).map_err(|why| ("url", why))?;
    let networks = settings.networks.iter().map(|text| http_rule::network(text).map_err(|why| ("networks", why)));
    let host: Authority = base.host.parse().map_err(|err| ("url", format!("{err}")))?;
    let scheme = if base.tls { Scheme::Https } else { Scheme::Http };
    let to = Authority { port: Some(base.port), ..host };
    Ok((Destination::new(scheme, to, networks.collect::<Result<_, _>>()?), base.path))
}

impl Service {
    pub fn new(view: &UpstreamView) -> Result<Service, Error> {
        let upstream = &view.upstream;
        let unusable = |why: &str| Error::Host(format!("the upstream {:?} cannot be called: {why}", upstream.name));
        let (to, path) = destination(&upstream.settings).map_err(|(what, why)| unusable(&format!("{what}: {why}")))?;
        let secret = match (&upstream.settings.credential, &view.secret) {
            (CredentialKind::None, _) => "",
            (_, Some(secret)) => secret,
            (_, None) => return Err(unusable("its credential cannot be decrypted")),
        };
        let mut scrubbed = vec![secret.as_bytes().to_vec()];
        let header_value = |text: &str| {
            let mut value = HeaderValue::from_str(text).map_err(|_| unusable("its credential fits no header"))?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        };
        let credential = match &upstream.settings.credential {
            CredentialKind::None => Credential::None,
            CredentialKind::Header { name, template } => {
                let name = name.parse().map_err(|_| unusable("its credential's header has no name"))?;
                Credential::Header(name, header_value(&template.replace("{secret}", secret))?)
            }
            CredentialKind::Basic { user } => {
                let token = STANDARD.encode(format!("{user}:{secret}"));
                let value = header_value(&format!("Basic {token}"))?;
                scrubbed.push(token.into_bytes());
                Credential::Header(header::AUTHORIZATION, value)
            }
            CredentialKind::Query { name } => {
                // An echo may encode the encoded value again.
                scrubbed.push(form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>().into_bytes());
                Credential::Query { name: name.clone(), value: secret.to_owned() }
            }
            kind @ CredentialKind::Hmac { .. } => {
                let key = kind.key(secret).ok_or_else(|| unusable("its signing key is not base64"))?;
                scrubbed.push(key.clone());
                Credential::Key(hmac::Key::new(hmac::HMAC_SHA256, &key))
            }
        };
        let limiter = Limiter::new(upstream.settings.concurrency);
        Ok(Service { upstream: upstream.clone(), to, path, credential, scrubber: Scrubber::new(scrubbed), limiter })
    }

    /// Was it made from this view? A key rotation seals the credential again without changing it, so it is not compared.
    pub fn is_of(&self, view: &UpstreamView) -> bool {
        let stamp = |upstream: &Upstream| -> (Millis, Millis) { (upstream.created_at_ms, upstream.updated_at_ms) };
        stamp(&self.upstream) == stamp(&view.upstream)
    }

    /// The path and query at the service for a function's request, without the parameters that only the host adds.
    pub fn target(&self, asked: &Uri) -> Result<String, Error> {
        let path = asked.path();
        if !path.starts_with('/') || !http_rule::is_plain(path) {
            return Err(Error::BadUri(format!(
                "{path:?} may mean a place outside of the upstream's base: it has an empty, . or .. segment, or an escape of these"
            )));
        }
        let query = match (&self.credential, asked.query()) {
            (_, None) => return Ok(format!("{}{path}", self.path)),
            (Credential::Query { name, .. }, Some(query)) => {
                // The service might use a second value under the credential's name.
                let others = query.split('&').filter(|pair| {
                    let own = form_urlencoded::parse(pair.as_bytes()).next();
                    own.is_none_or(|(known, _)| !known.eq_ignore_ascii_case(name))
                });
                others.collect::<Vec<_>>().join("&")
            }
            (_, Some(query)) => query.to_owned(),
        };
        Ok(format!("{}{path}?{query}", self.path))
    }

    /// A function's headers, without those that only the host sets.
    pub fn headers(&self, mut headers: HeaderMap) -> HeaderMap {
        // Headers that are not forwarded must not distinguish cache keys.
        strip(&mut headers);
        headers.remove(header::ACCEPT_ENCODING);
        if self.scrubber.has_secrets() {
            for name in MAKES_PARTS {
                headers.remove(name);
            }
        }
        if let Credential::Header(name, _) = &self.credential {
            headers.remove(name);
        }
        headers
    }

    /// Adds the credential. This is the last change to a request.
    pub fn authorise(&self, target: &str, headers: &mut HeaderMap) -> Result<Uri, Error> {
        // A compressed response cannot be scrubbed.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let mut target = target.to_owned();
        match &self.credential {
            Credential::None | Credential::Key(_) => {}
            Credential::Header(name, value) => {
                headers.insert(name, value.clone());
            }
            Credential::Query { name, value } => {
                let pair = Serializer::new(String::new()).append_pair(name, value).finish();
                let mark = match target.split_once('?') {
                    None => "?",
                    Some((_, "")) => "",
                    Some(_) => "&",
                };
                target = format!("{target}{mark}{pair}");
            }
        }
        // The text of this error would contain the target, with the credential.
        target.parse().map_err(|_| Error::BadUri("its path or query cannot be sent".into()))
    }

    /// Computes HMAC-SHA256 under the signing key.
    pub fn sign(&self, data: &[u8]) -> Result<Vec<u8>, String> {
        match &self.credential {
            Credential::Key(key) => Ok(hmac::sign(key, data).as_ref().to_vec()),
            Credential::None | Credential::Header(..) | Credential::Query { .. } => Err(format!(
                "the upstream {:?} has no signing key: its credential is {}, not hmac",
                self.upstream.name,
                self.upstream.settings.credential.word()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_model::upstreams::KeyEncoding;

    fn service(url: &str, credential: CredentialKind) -> Service {
        let settings = UpstreamSettings { credential, ..UpstreamSettings::new(url) };
        let upstream = Upstream {
            owner: None,
            name: "a".into(),
            settings,
            sealed: None,
            secret_revision: String::new(),
            created_at_ms: 0,
            updated_at_ms: 0,
        };
        Service::new(&UpstreamView { upstream, secret: Some("s3cret&+key".into()) }).ok().unwrap()
    }

    fn sent(service: &Service, asked: &str) -> (String, HeaderMap) {
        let target = service.target(&asked.parse().unwrap()).unwrap();
        let mut headers = service.headers(HeaderMap::new());
        (service.authorise(&target, &mut headers).unwrap().to_string(), headers)
    }

    #[test]
    fn paths_cannot_escape_the_base() {
        let service = service("https://a.example/v2", CredentialKind::None);
        for (asked, expected) in [
            ("http://a.upstream/", "/v2/"),
            ("http://a.upstream", "/v2/"),
            ("http://a.upstream/x/y?q=1", "/v2/x/y?q=1"),
            ("http://a.upstream/x?q=../..", "/v2/x?q=../.."),
            ("http://a.upstream/%41/", "/v2/%41/"),
        ] {
            assert_eq!(sent(&service, asked).0, expected, "{asked}");
        }
        for escape in [
            "/..",
            "/../x",
            "/x/../../y",
            "/./x",
            "//x",
            "/x//y",
            "/%2e%2e/x",
            "/%2E./x",
            "/x%2f..%2fy",
            "/x%5c..%5cy",
            "/%252e%252e/x",
            "/..;/x",
            "/x/..;a=b/y",
            "/%00",
        ] {
            let asked: Uri = format!("http://a.upstream{escape}").parse().unwrap();
            assert!(matches!(service.target(&asked), Err(Error::BadUri(_))), "{escape}");
        }
    }

    #[test]
    fn credentials_are_added_last_and_override_the_functions_values() {
        let header = CredentialKind::Header { name: "X-Key".into(), template: "Token {secret}".into() };
        let header = service("https://a.example", header);
        let (_, headers) = sent(&header, "http://a.upstream/");
        assert_eq!(headers["x-key"], "Token s3cret&+key");
        assert_eq!(headers["accept-encoding"], "identity");
        let forged = [(HeaderName::from_static("x-key"), HeaderValue::from_static("mine"))].into_iter().collect();
        assert!(header.headers(forged).is_empty());

        let basic = service("https://a.example", CredentialKind::Basic { user: "larder".into() });
        assert_eq!(sent(&basic, "http://a.upstream/").1["authorization"], "Basic bGFyZGVyOnMzY3JldCYra2V5");

        let query = service("https://a.example/v1", CredentialKind::Query { name: "api_key".into() });
        for (asked, expected) in [
            ("/x", "/v1/x?api_key=s3cret%26%2Bkey"),
            ("/x?", "/v1/x?api_key=s3cret%26%2Bkey"),
            ("/x?a=b", "/v1/x?a=b&api_key=s3cret%26%2Bkey"),
            ("/x?api_key=mine&a=b&%61pi_key=mine&API_KEY=mine", "/v1/x?a=b&api_key=s3cret%26%2Bkey"),
        ] {
            assert_eq!(sent(&query, &format!("http://a.upstream{asked}")).0, expected, "{asked}");
        }
    }

    /// RFC 4231, test case 2.
    #[test]
    fn signatures() {
        let settings = UpstreamSettings {
            credential: CredentialKind::Hmac { encoding: KeyEncoding::Text },
            ..UpstreamSettings::new("https://a.example")
        };
        let upstream = Upstream {
            owner: None,
            name: "a".into(),
            settings,
            sealed: None,
            secret_revision: String::new(),
            created_at_ms: 0,
            updated_at_ms: 0,
        };
        let service = Service::new(&UpstreamView { upstream, secret: Some("Jefe".into()) }).ok().unwrap();
        assert_eq!(
            hex::encode(service.sign(b"what do ya want for nothing?").unwrap()),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        // It is not sent with requests.
        assert!(!sent(&service, "http://a.upstream/").1.contains_key("authorization"));
        let other = self::service("https://a.example", CredentialKind::None);
        assert!(other.sign(b"x").unwrap_err().contains("no signing key"));
    }
}
