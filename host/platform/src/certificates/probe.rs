//! Does a name lead here? It is asked as the authority will ask it, for what only the database of this installation can answer.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use ipnet::IpNet;
use larder_egress::{Destination, Times};
use larder_model::certificates::ChallengeKind;
use larder_model::doors::{Host, Names};
use larder_model::net::authority::Authority;
use larder_model::rules::Reaches;
use larder_model::{Digest, Scheme};
use larder_store::OrderClaim;
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::order::{Failed, store_challenge};
use super::{Issuer, authority};
use crate::common::operator;
use crate::tls;

/// `id-pe-acmeIdentifier` (RFC 8737, section 6.1).
pub(crate) const ACME_IDENTIFIER: &str = "1.3.6.1.5.5.7.1.31";

pub async fn leads_here(issuer: &Issuer, claim: &OrderClaim) -> Result<(), Failed> {
    let (name, networks) = (claim.name.as_str(), networks(issuer, claim).await);
    let acme = &issuer.settings.acme;
    let (port, at, listen) = match acme.challenge {
        ChallengeKind::Http01 => (
            acme.http_port,
            format!("http://{name}:{}/.well-known/acme-challenge/", acme.http_port),
            "tls.redirect_listen",
        ),
        ChallengeKind::TlsAlpn01 => (acme.tls_port, format!("{name}:{} (acme-tls/1)", acme.tls_port), "tls.listen"),
    };
    let token = issuer.clock.ulid();
    let answer = format!("{token}.{}", issuer.clock.ulid());
    store_challenge(issuer, name, acme.challenge, &token, &answer).await?;
    let to: Result<Authority, _> = format!("{name}:{port}").parse();
    let asked = match (to, acme.challenge) {
        (Err(_), _) => Err("it is no name of a host".into()),
        (Ok(to), ChallengeKind::Http01) => {
            by_http(issuer, Destination::new(Scheme::Http, to, networks), &token, &answer).await
        }
        (Ok(to), ChallengeKind::TlsAlpn01) => {
            by_tls(issuer, Destination::new(Scheme::Https, to, networks), name, &answer).await
        }
    };
    asked.map_err(|what: String| {
        Failed::new(format!(
            "{at} does not lead here: {what}; let DNS and port {port} of {name} lead to {listen}, and nothing was ordered"
        ))
    })
}

/// The private networks that are asked: for a name of the installation those of the operator's settings. DNS of a partner's own domain
/// is the partner's, who must not learn what answers within them: only the addresses at which the installation is.
async fn networks(issuer: &Issuer, claim: &OrderClaim) -> Vec<IpNet> {
    let root = issuer.settings.root_host().unwrap_or_default();
    let names = Names { root: &root, functions: &issuer.settings.server.functions_domain };
    let Some(partner) = claim.partner.as_ref().filter(|_| names.host(&claim.name) == Host::Unknown) else {
        return authority::everywhere();
    };
    let below = issuer.settings.domain_target();
    let mut found = Vec::new();
    for reaches in [Reaches::Functions, Reaches::Api] {
        let addresses = issuer.egress.addresses(&reaches.target(partner, &below)).await.unwrap_or_default();
        found.extend(addresses.into_iter().map(IpNet::from));
    }
    found
}

async fn by_http(issuer: &Issuer, to: Destination, token: &str, answer: &str) -> Result<(), String> {
    let request = Request::get(format!("/.well-known/acme-challenge/{token}"))
        .header(header::CACHE_CONTROL, "no-cache")
        .body(Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync())
        .map_err(|err| err.to_string())?;
    let times = Times::of(&issuer.settings.egress);
    let found = issuer.egress.send(&operator(), &to, request, &times).await.map_err(|err| err.to_string())?;
    if found.status() != StatusCode::OK {
        return Err(format!("it answered {}", found.status()));
    }
    let body = Limited::new(found.into_body(), 1_024).collect().await.map_err(|err| err.to_string())?.to_bytes();
    if body == answer.as_bytes() { Ok(()) } else { Err("somebody else answers there".into()) }
}

/// By the certificate that an authority is shown: nobody has signed it, and it has the digest of the answer.
async fn by_tls(issuer: &Issuer, to: Destination, name: &str, answer: &str) -> Result<(), String> {
    let times = Times::of(&issuer.settings.egress);
    let server = ServerName::try_from(name.to_owned()).map_err(|err| err.to_string())?;
    let shaking = async {
        let stream = issuer.egress.open(&to, &times).await.map_err(|err| err.to_string())?;
        let connector = TlsConnector::from(Arc::new(config().map_err(|err| err.to_string())?));
        connector.connect(server, stream).await.map_err(|err| format!("no TLS: {err}"))
    };
    let shaken = tokio::time::timeout(times.first_byte, shaking).await;
    let stream = shaken.map_err(|_| "it did not answer in time".to_owned())??;
    let (_, session) = stream.get_ref();
    let shown = session.peer_certificates().and_then(|chain| chain.first()).ok_or("it shows no certificate")?;
    let (_, shown) = x509_parser::parse_x509_certificate(shown).map_err(|err| err.to_string())?;
    let proof = shown.extensions().iter().find(|extension| extension.oid.to_id_string() == ACME_IDENTIFIER);
    // An OCTET STRING.
    let expected = [&[4, 32], &Digest::of(answer.as_bytes()).0[..]].concat();
    match proof {
        Some(proof) if proof.value == expected => Ok(()),
        Some(_) | None => Err("somebody else answers there".into()),
    }
}

/// How an authority shakes hands that checks a name by TLS-ALPN-01.
pub(crate) fn config() -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(tls::provider().clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any))
        .with_no_client_auth();
    config.alpn_protocols = vec![tls::ACME_PROTOCOL.to_vec()];
    Ok(config)
}

/// Takes every certificate: who shows it is found out by what it says, and nothing is sent.
#[derive(Debug)]
struct Any;

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    // The library reads no certificate with the extension that is looked for, so it cannot check by whom the handshake was signed.
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls::provider().signature_verification_algorithms.supported_schemes()
    }
}
