//! The authority of fronts, and both sides of TLS between a front and a core.
//!
//! It gives two kinds of certificates, and neither side takes the other kind: a front has one for clients, with its name as the
//! subject; a core makes itself one for servers, whose key only its memory has. Sessions are not resumed: each connection
//! shows again who it is.

use std::sync::Arc;
use std::time::Duration;

use larder_model::time::Millis;
use larder_store::{AUTHORITY, FrontAuthority};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use rustls::client::Resumption;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme, version,
};

use super::{Fronts, Known, PublicKey};
use crate::error::{Error, Result};
use crate::tls::provider;

/// The name of every core, by which fronts ask for it.
pub const CORE: &str = "core.larder.internal";
/// By ALPN: connections for requests of clients, and for what a front itself wants to know. So no request of a client can be
/// taken for one of the front.
pub const REQUESTS: &[u8] = b"http/1.1";
pub const CONTROL: &[u8] = b"larder-front/1";

/// The certificate of the authority is never exchanged.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(30 * 366 * 24 * 3_600);
/// A core exchanges its own when half of this is over.
const CORE_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Clocks of a front and a core differ by this at most.
const CLOCKS_DIFFER: Duration = Duration::from_secs(300);

pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// The authority of the installation; the first who asks makes it.
pub async fn of(fronts: &Fronts) -> Result<Authority> {
    let context = ["front authority", AUTHORITY];
    let stored = match fronts.store.front_authority().await? {
        Some(stored) => stored,
        None => {
            let now = fronts.clock.now_ms();
            let key = KeyPair::generate().map_err(uncertified)?;
            let certificate = of_authority(now).self_signed(&key).map_err(uncertified)?.pem();
            let sealed_key = fronts.secrets.seal(&context, key.serialize_pem().as_bytes());
            fronts.store.first_front_authority(&FrontAuthority { certificate, sealed_key }, now).await?;
            let stored = fronts.store.front_authority().await?;
            stored.ok_or(larder_store::Error::NotFound { what: "authority of fronts" })?
        }
    };
    let key = fronts.secrets.open(&context, &stored.sealed_key)?;
    let key = KeyPair::from_pem(&key.text()).map_err(uncertified)?;
    Ok(Authority { pem: stored.certificate, issuer: Issuer::new(of_authority(0), key) })
}

impl Authority {
    /// A certificate for a front, then the authority's, in PEM; and when it ends.
    pub fn certify(&self, name: &str, key: &PublicKey, now: Millis, lifetime: Duration) -> Result<(String, Millis)> {
        let mut params = valid(now, CLOCKS_DIFFER.min(lifetime / 10), lifetime);
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(key, &self.issuer).map_err(uncertified)?;
        Ok((format!("{}{}", certificate.pem(), self.pem), params.not_after.unix_timestamp() * 1_000))
    }

    /// How a core shakes hands from now on, and when it makes itself another certificate.
    pub(super) fn serve(&self, known: &Known, now: Millis) -> Result<(Arc<ServerConfig>, Millis)> {
        let unfit = |err: rustls::Error| Error::Uncertified(err.to_string());
        let mut params = valid(now, CLOCKS_DIFFER, CORE_LIFETIME);
        params.subject_alt_names = vec![rcgen::SanType::DnsName(CORE.try_into().map_err(uncertified)?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(uncertified)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(uncertified)?.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let roots = Arc::new(self.roots()?);
        let signed = WebPkiClientVerifier::builder_with_provider(roots, provider().clone())
            .build()
            .map_err(|err| Error::Uncertified(err.to_string()))?;
        let mut config = ServerConfig::builder_with_provider(provider().clone())
            .with_protocol_versions(&[&version::TLS13])
            .map_err(unfit)?
            .with_client_cert_verifier(Arc::new(Enrolled { signed, known: known.clone() }))
            .with_single_cert(vec![certificate], key)
            .map_err(unfit)?;
        config.alpn_protocols = vec![REQUESTS.to_vec(), CONTROL.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok((Arc::new(config), now + CORE_LIFETIME.as_millis() as Millis / 2))
    }

    fn roots(&self) -> Result<RootCertStore> {
        let der = CertificateDer::from_pem_slice(self.pem.as_bytes());
        let mut roots = RootCertStore::empty();
        roots
            .add(der.map_err(|err| Error::Uncertified(err.to_string()))?)
            .map_err(|err| Error::Uncertified(err.to_string()))?;
        Ok(roots)
    }
}

fn uncertified(err: rcgen::Error) -> Error {
    Error::Uncertified(err.to_string())
}

fn of_authority(now: Millis) -> CertificateParams {
    let mut params = valid(now, CLOCKS_DIFFER, AUTHORITY_LIFETIME);
    params.distinguished_name.push(DnType::CommonName, "Larder fronts");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn valid(now: Millis, before: Duration, lifetime: Duration) -> CertificateParams {
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis(now.try_into().unwrap_or_default());
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).expect("the operating system gives random bytes");
    // A positive number that does not begin with a zero.
    serial[0] = (serial[0] & 0x7f) | 0x40;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = now - before;
    params.not_after = now + lifetime;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}

/// The name, the key and the end of a front's certificate.
pub(super) fn read(certificate: &CertificateDer<'_>) -> Option<(String, PublicKey, Millis)> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let mut names = parsed.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?.to_owned();
    let key = PublicKey::of(parsed.public_key()).ok()?;
    names.next().is_none().then_some((name, key, parsed.validity().not_after.timestamp() * 1_000))
}

/// Takes certificates of the authority whose fronts are enrolled. Whoever is not is told so by an alert of TLS
/// (`certificate_revoked`), before anything that it sends is read.
#[derive(Debug)]
struct Enrolled {
    signed: Arc<dyn ClientCertVerifier>,
    known: Known,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Known")
    }
}

impl ClientCertVerifier for Enrolled {
    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        self.signed.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> std::result::Result<ClientCertVerified, rustls::Error> {
        let verified = self.signed.verify_client_cert(certificate, intermediates, now)?;
        match self.known.find(certificate) {
            Some(_) => Ok(verified),
            None => Err(CertificateError::Revoked.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.signed.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.signed.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}

/// A front's side: what it shows, and whom it trusts.
pub struct Identity {
    /// Of the front.
    pub name: String,
    pub not_before_ms: Millis,
    pub not_after_ms: Millis,
    pub requests: Arc<ClientConfig>,
    pub control: Arc<ClientConfig>,
}

impl Identity {
    /// Of its certificate and the authority's, as enrolment gave them, and its key; all in PEM.
    pub fn from_pem(chain: &str, key: &str) -> std::result::Result<Identity, String> {
        let certificates: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<std::result::Result<_, _>>().map_err(text)?;
        let [own, authority] = &certificates[..] else {
            return Err(format!("it has {} certificates in PEM instead of 2", certificates.len()));
        };
        let (_, parsed) = x509_parser::parse_x509_certificate(own).map_err(text)?;
        let (name, _, not_after_ms) = read(own).ok_or("its first certificate is none of a front")?;
        let not_before_ms = parsed.validity().not_before.timestamp() * 1_000;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| "the key is none in PEM")?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone()).map_err(text)?;
        let mut requests = ClientConfig::builder_with_provider(provider().clone())
            .with_protocol_versions(&[&version::TLS13])
            .map_err(text)?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![own.clone()], key)
            .map_err(|err| format!("the key does not belong to the certificate ({err})"))?;
        requests.resumption = Resumption::disabled();
        let mut control = requests.clone();
        requests.alpn_protocols = vec![REQUESTS.to_vec()];
        control.alpn_protocols = vec![CONTROL.to_vec()];
        Ok(Identity { name, not_before_ms, not_after_ms, requests: requests.into(), control: control.into() })
    }
}

fn text(err: impl std::fmt::Display) -> String {
    err.to_string()
}
