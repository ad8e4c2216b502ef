//! TLS of outgoing connections: whose certificates are believed.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};

/// Believes the authorities in `file` (PEM), unless its path is empty, and those of the system if `system`.
pub fn client(file: &Path, system: bool) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if system {
        let native = rustls_native_certs::load_native_certs();
        for err in &native.errors {
            tracing::warn!(error = %err, "a certificate authority of the system cannot be read");
        }
        roots.add_parsable_certificates(native.certs);
    }
    if !file.as_os_str().is_empty() {
        let before = roots.len();
        let context = || file.display().to_string();
        for certificate in CertificateDer::pem_file_iter(file).with_context(context)? {
            roots.add(certificate.with_context(context)?).with_context(context)?;
        }
        anyhow::ensure!(roots.len() > before, "{}: there is no certificate in it", file.display());
    }
    if roots.is_empty() {
        tracing::warn!(
            "there is no certificate authority: every connection by TLS will fail (egress.ca_file, redis.ca_file)"
        );
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
