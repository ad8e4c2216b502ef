//! The public key of a front.

use larder_model::Digest;
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Its kind and its curve, as certificates name them.
const EC: &str = "1.2.840.10045.2.1";
const P256: &str = "1.2.840.10045.3.1.7";
/// A point that is not compressed.
const POINT_BYTES: usize = 65;

/// A key on the curve P-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    point: Vec<u8>,
}

impl PublicKey {
    pub fn from_pem(text: &str) -> Result<PublicKey, &'static str> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes())
            .map_err(|_| "must be a public key in PEM, as `larder front request` prints it")?;
        let (rest, read) = SubjectPublicKeyInfo::from_der(&der).map_err(|_| "is no public key in DER")?;
        if rest.is_empty() { PublicKey::of(&read) } else { Err("has something behind the key") }
    }

    pub(super) fn of(read: &SubjectPublicKeyInfo<'_>) -> Result<PublicKey, &'static str> {
        let curve = read.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
        let is_p256 =
            read.algorithm.algorithm.to_id_string() == EC && curve.is_some_and(|it| it.to_id_string() == P256);
        let point = read.subject_public_key.data.to_vec();
        if is_p256 && point.len() == POINT_BYTES && point[0] == 4 {
            Ok(PublicKey { point })
        } else {
            Err("must be a key on the curve P-256")
        }
    }

    /// SHA-256 of it as certificates have it, in hex.
    pub fn hash(&self) -> String {
        hex::encode(Digest::of(&self.subject_public_key_info()).0)
    }
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_ED25519};

    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_printed_and_no_other_kind() {
        let key = KeyPair::generate().unwrap();
        let read = PublicKey::from_pem(&key.public_key_pem()).unwrap();
        assert_eq!(read.subject_public_key_info(), key.subject_public_key_info());
        assert_eq!(read.hash().len(), 64);
        for wrong in [
            String::new(),
            key.serialize_pem(),
            KeyPair::generate_for(&PKCS_ED25519).unwrap().public_key_pem(),
            key.public_key_pem().replace("PUBLIC KEY", "CERTIFICATE"),
        ] {
            assert!(PublicKey::from_pem(&wrong).is_err(), "{wrong}");
        }
    }
}
