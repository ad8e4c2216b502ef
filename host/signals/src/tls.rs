//! TLS of outgoing connections: the trusted certificate authorities.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// The number of trusted certificate authorities, by source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Authorities {
    pub system: usize,
    pub compiled_in: usize,
    pub file: usize,
}

impl fmt::Display for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the system, {} compiled in, {} of ca_file", self.system, self.compiled_in, self.file)
    }
}

/// The variables that locate the system's authorities. If one of them is set, exactly what it names is trusted, even if that is
/// nothing.
const SYSTEMS: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Trusts the authorities in `file` (PEM), unless its path is empty, and those of the system if `system` is true. On a system
/// without any, it trusts the Mozilla authorities that are compiled in.
pub fn client(file: &Path, system: bool) -> anyhow::Result<(ClientConfig, Authorities)> {
    let mut roots = RootCertStore::empty();
    let mut found = Authorities::default();
    if system {
        let native = rustls_native_certs::load_native_certs();
        for err in &native.errors {
            tracing::warn!(error = %err, "a certificate authority of the system cannot be read");
        }
        (found.system, _) = roots.add_parsable_certificates(native.certs);
        if found.system == 0 && SYSTEMS.iter().all(|variable| std::env::var_os(variable).is_none()) {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            found.compiled_in = roots.len();
        }
    }
    if !file.as_os_str().is_empty() {
        let before = roots.len();
        let context = || file.display().to_string();
        for certificate in CertificateDer::pem_file_iter(file).with_context(context)? {
            roots.add(certificate.with_context(context)?).with_context(context)?;
        }
        found.file = roots.len() - before;
        anyhow::ensure!(found.file > 0, "{}: there is no certificate in it", file.display());
    }
    if roots.is_empty() {
        tracing::warn!(
            "there is no certificate authority: every connection by TLS will fail (egress.ca_file, redis.ca_file)"
        );
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok((config.with_root_certificates(roots).with_no_client_auth(), found))
}
