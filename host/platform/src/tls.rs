//! The certificates that are presented, in memory, exchanged while connections are accepted.
//!
//! * [`Certificate`]: a chain with its key, checked: the key belongs to it, and it is valid now.
//! * [`Certificates`]: which one is presented to whom, by the name that a client asks for (SNI): the certificate of exactly this
//!   name, else of `*.` and the rest, else the default. Whoever has certificates puts them here; the files of `tls.*` are the
//!   default. A connection keeps the certificate that it began with.
//! * [`Challenges`]: who answers an authority that asks whether a name is ours (RFC 8555, RFC 8737).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use larder_model::Digest;
use larder_model::time::{Millis, instant};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ParsedCertificate, ServerSessionMemoryCache, StoresServerSessions};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use x509_parser::extensions::GeneralName;

/// The protocol by which an authority looks at a certificate that only proves a name (RFC 8737).
pub const ACME_PROTOCOL: &[u8] = b"acme-tls/1";
/// Sessions that are remembered for clients that come again, of all certificates together.
const SESSIONS_MAX: usize = 4_096;

/// Why a certificate is not presented.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    #[error("there is no certificate in PEM")]
    NoCertificate,
    #[error("there is no private key in PEM")]
    NoKey,
    #[error("the private key is another certificate's")]
    OtherKey,
    #[error("the certificate ran out at {0}")]
    RanOut(String),
    #[error("the certificate is not valid before {0}")]
    TooEarly(String),
    #[error("the certificate is for {0}, of which nothing is served here")]
    OtherNames(String),
    #[error("it cannot be read: {0}")]
    Unreadable(String),
}

/// A chain with its key, and how a handshake with them goes.
pub struct Certificate {
    /// The names and addresses that it is for, in lower case.
    pub names: Vec<String>,
    pub not_before_ms: Millis,
    pub not_after_ms: Millis,
    chain: Vec<CertificateDer<'static>>,
    config: Arc<ServerConfig>,
}

impl Certificate {
    /// Of a chain, the end's certificate first, and its key, both in PEM.
    pub fn from_pem(chain: &str, key: &str, now_ms: Millis) -> Result<Certificate, Unfit> {
        let unreadable = |err: rustls::pki_types::pem::Error| Unfit::Unreadable(err.to_string());
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().map_err(unreadable)?;
        if chain.is_empty() {
            return Err(Unfit::NoCertificate);
        }
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|err| match err {
            rustls::pki_types::pem::Error::NoItemsFound => Unfit::NoKey,
            other => unreadable(other),
        })?;
        let certified = CertifiedKey::from_der(chain, key, provider()).map_err(|err| match err {
            rustls::Error::InconsistentKeys(_) => Unfit::OtherKey,
            other => Unfit::Unreadable(other.to_string()),
        })?;
        Certificate::new(certified, now_ms)
    }

    pub fn new(certified: CertifiedKey, now_ms: Millis) -> Result<Certificate, Unfit> {
        let der = certified.cert.first().ok_or(Unfit::NoCertificate)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(der).map_err(|err| Unfit::Unreadable(err.to_string()))?;
        let [not_before_ms, not_after_ms] = [parsed.validity().not_before, parsed.validity().not_after]
            .map(|time| time.timestamp().saturating_mul(1_000));
        if now_ms >= not_after_ms {
            return Err(Unfit::RanOut(instant(not_after_ms).to_rfc3339()));
        }
        if now_ms < not_before_ms {
            return Err(Unfit::TooEarly(instant(not_before_ms).to_rfc3339()));
        }
        let alternative = parsed.subject_alternative_name().map_err(|err| Unfit::Unreadable(err.to_string()))?;
        let names = alternative.iter().flat_map(|names| &names.value.general_names).filter_map(name).collect();
        let chain = certified.cert.clone();
        let config = config(certified, &[b"h2", b"http/1.1"])?;
        Ok(Certificate { names, not_before_ms, not_after_ms, chain, config })
    }

    /// Is it for this host? Its port is not part of it.
    pub fn covers(&self, host: &str) -> bool {
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let Ok(name) = ServerName::try_from(host) else { return false };
        let parsed = self.chain.first().map(ParsedCertificate::try_from);
        matches!(parsed, Some(Ok(parsed)) if verify_server_name(&parsed, &name).is_ok())
    }

    /// Is anything that it is for served here? `domains` are those at and below which we are.
    pub fn is_for(&self, domains: &[&str]) -> Result<(), Unfit> {
        let ours = |name: &String| {
            let name = name.strip_prefix("*.").unwrap_or(name);
            let within = |domain: &str| name == domain || larder_model::rules::label_below(name, domain).is_some();
            name.parse::<IpAddr>().is_ok() || name == "localhost" || domains.iter().any(|domain| within(domain))
        };
        let names = if self.names.is_empty() { "no name".to_owned() } else { self.names.join(", ") };
        if self.names.iter().any(ours) { Ok(()) } else { Err(Unfit::OtherNames(names)) }
    }

    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => Some(IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?).to_string()),
            16 => Some(IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?).to_string()),
            _ => None,
        },
        _ => None,
    }
}

pub(crate) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider()))
}

/// TLS 1.2 and 1.3 as the library has them by default.
fn config(certified: CertifiedKey, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, Unfit> {
    static SESSIONS: OnceLock<Arc<dyn StoresServerSessions>> = OnceLock::new();
    let mut config = ServerConfig::builder_with_provider(provider().clone())
        .with_safe_default_protocol_versions()
        .map_err(|err| Unfit::Unreadable(err.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config.session_storage = SESSIONS.get_or_init(|| ServerSessionMemoryCache::new(SESSIONS_MAX)).clone();
    Ok(Arc::new(config))
}

/// Who answers HTTP-01: it asks at `/.well-known/acme-challenge/TOKEN` of the name.
#[async_trait]
pub trait Challenges: Send + Sync {
    /// The key authorization, if this token was given out for this host.
    async fn answer(&self, host: &str, token: &str) -> Option<String>;

    /// What an authority is shown that checks this host by TLS-ALPN-01, if one was asked to.
    async fn proof(&self, host: &str) -> Option<Proof>;
}

/// What an authority is shown that checks a name by TLS-ALPN-01 (RFC 8737). Nobody else is shown it.
pub struct Proof(Arc<ServerConfig>);

impl Proof {
    /// By a certificate that only has the digest of the key authorization. Nobody else takes it: its extension is critical.
    pub fn of(name: &str, key_authorization: &str) -> Result<Proof, Unfit> {
        let unreadable = |err: rcgen::Error| Unfit::Unreadable(err.to_string());
        let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(unreadable)?;
        params.custom_extensions =
            vec![CustomExtension::new_acme_identifier(&Digest::of(key_authorization.as_bytes()).0)];
        let key = KeyPair::generate().map_err(unreadable)?;
        let der = params.self_signed(&key).map_err(unreadable)?.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = provider().key_provider.load_private_key(key).map_err(|err| Unfit::Unreadable(err.to_string()))?;
        Ok(Proof(config(CertifiedKey::new(vec![der], key), &[ACME_PROTOCOL])?))
    }

    pub fn config(&self) -> Arc<ServerConfig> {
        self.0.clone()
    }
}

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Certificates(Arc<Shared>);

#[derive(Default)]
struct Shared {
    set: ArcSwap<Set>,
    /// Why the default could not be exchanged, until it can.
    refused: ArcSwap<Option<String>>,
    challenges: OnceLock<Arc<dyn Challenges>>,
}

#[derive(Clone, Default)]
struct Set {
    default: Option<Arc<Certificate>>,
    named: HashMap<String, Arc<Certificate>>,
}

/// What a client is shown.
pub enum Shown {
    Certificate(Arc<Certificate>),
    /// The [`Proof`] that this name is ours, if there is one. Nothing is served by this connection.
    Proof(String),
}

impl Certificates {
    /// Presents it to clients that ask for no name or for one that has no certificate of its own.
    pub fn set_default(&self, certificate: Certificate) {
        let certificate = Arc::new(certificate);
        self.change(|set| set.default = Some(certificate.clone()));
        self.0.refused.store(Arc::default());
    }

    /// Says why the default stays as it is.
    pub fn refuse_default(&self, why: String) {
        self.0.refused.store(Arc::new(Some(why)));
    }

    /// Presents it to clients that ask for this name, which may begin with `*.`.
    pub fn set(&self, name: &str, certificate: Certificate) {
        let (name, certificate) = (name.to_ascii_lowercase(), Arc::new(certificate));
        self.change(|set| drop(set.named.insert(name.clone(), certificate.clone())));
    }

    pub fn remove(&self, name: &str) {
        let name = name.to_ascii_lowercase();
        self.change(|set| drop(set.named.remove(&name)));
    }

    /// Only the first has an effect.
    pub fn answer_by(&self, challenges: Arc<dyn Challenges>) {
        let _ = self.0.challenges.set(challenges);
    }

    pub fn challenges(&self) -> Option<&Arc<dyn Challenges>> {
        self.0.challenges.get()
    }

    /// What a client is shown that asks for `name` and offers these protocols. `None`: nothing fits, and it is refused.
    pub fn shown<'a>(&self, name: Option<&str>, mut protocols: impl Iterator<Item = &'a [u8]>) -> Option<Shown> {
        let set = self.0.set.load();
        let name = name.map(str::to_ascii_lowercase);
        if protocols.any(|protocol| protocol == ACME_PROTOCOL) {
            return name.map(Shown::Proof);
        }
        let named = name.and_then(|name| {
            let wildcard = || set.named.get(&format!("*.{}", name.split_once('.')?.1));
            set.named.get(&name).or_else(wildcard)
        });
        named.or(set.default.as_ref()).cloned().map(Shown::Certificate)
    }

    /// Is the default for this name?
    pub fn default_covers(&self, name: &str) -> bool {
        self.0.set.load().default.as_ref().is_some_and(|certificate| certificate.covers(name))
    }

    /// The certificate that was set for exactly this name.
    pub fn named(&self, name: &str) -> Option<Arc<Certificate>> {
        self.0.set.load().named.get(name).cloned()
    }

    /// All of them: the name under which each is presented, `None` for the default.
    pub fn all(&self) -> Vec<(Option<String>, Arc<Certificate>)> {
        let set = self.0.set.load();
        let named = set.named.iter().map(|(name, certificate)| (Some(name.clone()), certificate.clone()));
        set.default.iter().map(|certificate| (None, certificate.clone())).chain(named).collect()
    }

    /// Why the default was not exchanged although it should have been.
    pub fn refused(&self) -> Option<String> {
        self.0.refused.load().as_ref().clone()
    }

    fn change(&self, change: impl Fn(&mut Set)) {
        self.0.set.rcu(|set| {
            let mut set = Set::clone(set);
            change(&mut set);
            set
        });
    }
}

#[cfg(test)]
mod tests {
    use rustls::{ClientConnection, ServerConnection};

    use super::*;
    use crate::certificates::probe;

    /// 2026-12-01.
    const NOW_MS: Millis = 1_796_083_200_000;

    fn certified(params: CertificateParams) -> CertifiedKey {
        let key = KeyPair::generate().unwrap();
        let chain = vec![params.self_signed(&key).unwrap().der().clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        CertifiedKey::from_der(chain, key, provider()).unwrap()
    }

    fn named(names: &[&str]) -> CertificateParams {
        CertificateParams::new(names.iter().map(|name| name.to_string()).collect::<Vec<_>>()).unwrap()
    }

    fn certificate(names: &[&str]) -> Certificate {
        Certificate::new(certified(named(names)), NOW_MS).unwrap()
    }

    /// The names of what is shown; `None`: it is refused.
    fn shown(certificates: &Certificates, name: Option<&str>) -> Option<String> {
        match certificates.shown(name, [&b"h2"[..]].into_iter())? {
            Shown::Certificate(certificate) => Some(certificate.names.join(" ")),
            Shown::Proof(_) => panic!("nobody asked for a proof"),
        }
    }

    #[test]
    fn each_name_has_its_certificate_and_changes_are_seen_at_once() {
        let certificates = Certificates::default();
        assert_eq!(shown(&certificates, Some("bank.test")), None);
        certificates.set("Bank.Test", certificate(&["bank.test"]));
        certificates.set("*.bank.test", certificate(&["*.bank.test"]));
        assert_eq!(shown(&certificates, Some("BANK.test")).as_deref(), Some("bank.test"));
        assert_eq!(shown(&certificates, Some("acme.bank.test")).as_deref(), Some("*.bank.test"));
        for nobodys in [None, Some("a.acme.bank.test"), Some("other.test"), Some("test")] {
            assert_eq!(shown(&certificates, nobodys), None, "{nobodys:?}");
        }
        certificates.set_default(certificate(&["default.test"]));
        assert_eq!(shown(&certificates, Some("a.acme.bank.test")).as_deref(), Some("default.test"));
        assert_eq!(shown(&certificates, None).as_deref(), Some("default.test"));
        certificates.set("bank.test", certificate(&["bank.test", "new.test"]));
        assert_eq!(shown(&certificates, Some("bank.test")).as_deref(), Some("bank.test new.test"));
        certificates.remove("bank.TEST");
        assert_eq!(shown(&certificates, Some("bank.test")).as_deref(), Some("default.test"));
        assert_eq!(certificates.all().len(), 2);
    }

    #[test]
    fn a_certificate_covers_its_names_and_no_others() {
        let certificate = certificate(&["bank.test", "*.bank.test", "192.0.2.7", "2001:db8::7"]);
        for (host, covers) in [
            ("bank.test", true),
            ("BANK.test", true),
            ("acme.bank.test", true),
            ("a.acme.bank.test", false),
            ("xbank.test", false),
            ("test", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("[2001:db8::7]", true),
            ("2001:db8::7", true),
            ("[2001:db8::8]", false),
            ("", false),
            ("*.bank.test", false),
            ("bank.test/", false),
        ] {
            assert_eq!(certificate.covers(host), covers, "{host}");
        }
        assert_eq!(certificate.names, ["bank.test", "*.bank.test", "192.0.2.7", "2001:db8::7"]);
        let served = |names: &[&str], domains: &[&str]| {
            Certificate::new(certified(named(names)), NOW_MS).unwrap().is_for(domains).map_err(|why| why.to_string())
        };
        for names in
            [&["bank.test"][..], &["*.bank.test"], &["acme.bank.test"], &["x.test", "*.f.test"], &["127.0.0.1"]]
        {
            assert_eq!(served(names, &["bank.test", "f.test"]), Ok(()), "{names:?}");
        }
        assert!(served(&["bank.test.evil.test"], &["bank.test", ""]).unwrap_err().contains("bank.test.evil.test"));
        assert!(served(&[], &["bank.test"]).unwrap_err().contains("no name"));
    }

    #[test]
    fn a_certificate_that_does_not_do_is_refused_by_its_reason() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let pem = |params: CertificateParams| params.self_signed(&key).unwrap().pem();
        let fine = pem(named(&["bank.test"]));
        let (mut over, mut early) = (named(&["bank.test"]), named(&["bank.test"]));
        over.not_after = rcgen::date_time_ymd(2026, 11, 30);
        early.not_before = rcgen::date_time_ymd(2026, 12, 2);
        for (chain, key, why) in [
            (String::new(), key.serialize_pem(), "no certificate"),
            (fine.clone(), String::new(), "no private key"),
            (fine.clone(), fine.clone(), "no private key"),
            (fine.clone(), other.serialize_pem(), "another certificate's"),
            (fine[..fine.len() / 2].to_owned(), key.serialize_pem(), "cannot be read"),
            (pem(over), key.serialize_pem(), "ran out at 2026-11-30"),
            (pem(early), key.serialize_pem(), "not valid before 2026-12-02"),
        ] {
            let said = Certificate::from_pem(&chain, &key, NOW_MS).err().expect("it is refused").to_string();
            assert!(said.contains(why), "{why}: {said}");
        }
        assert!(Certificate::from_pem(&fine, &key.serialize_pem(), NOW_MS).is_ok());
    }

    /// A handshake as an authority begins it that checks a name: what it is shown, and the protocol.
    fn shake_hands(proof: &Proof, name: &str) -> (Vec<u8>, Vec<u8>) {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(probe::config().unwrap()), name).unwrap();
        let mut server = ServerConnection::new(proof.config()).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut &bytes[..]).unwrap();
            server.process_new_packets().unwrap();
            bytes.clear();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut &bytes[..]).unwrap();
            client.process_new_packets().unwrap();
        }
        (client.peer_certificates().unwrap()[0].to_vec(), client.alpn_protocol().unwrap().to_vec())
    }

    #[test]
    fn an_authority_is_shown_the_proof_of_its_name() {
        let (der, protocol) = shake_hands(&Proof::of("bank.test", "token.thumbprint").unwrap(), "bank.test");
        assert_eq!(protocol, ACME_PROTOCOL);
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        assert!(matches!(names.value.general_names[..], [GeneralName::DNSName("bank.test")]));
        // RFC 8737, section 3: id-pe-acmeIdentifier, critical, the digest as an octet string.
        let extension =
            parsed.extensions().iter().find(|found| found.oid.to_id_string() == probe::ACME_IDENTIFIER).unwrap();
        assert!(extension.critical);
        assert_eq!(extension.value, [&[4, 32][..], &Digest::of(b"token.thumbprint").0].concat());
        let certificates = Certificates::default();
        certificates.set_default(certificate(&["bank.test"]));
        let asked = |name| certificates.shown(name, [ACME_PROTOCOL].into_iter());
        assert!(matches!(asked(Some("Bank.test")), Some(Shown::Proof(name)) if name == "bank.test"));
        assert!(asked(None).is_none());
    }
}
