//! Passwords: argon2id, as PHC strings (`$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`).

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use subtle::ConstantTimeEq;

const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// The hash of a new password. It takes 19 MiB and some hundredths of a second.
pub fn hash(password: &str) -> String {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).expect("the operating system gives random bytes");
    let params = Params::default();
    let hash = derive(password, &salt, params.clone()).expect("the default parameters are valid");
    format!(
        "$argon2id$v=19$m={},t={},p={}${}${}",
        params.m_cost(),
        params.t_cost(),
        params.p_cost(),
        BASE64_STANDARD_NO_PAD.encode(salt),
        BASE64_STANDARD_NO_PAD.encode(hash)
    )
}

/// Is this the password that was hashed? What cannot be read is nobody's.
pub fn is(password: &str, hashed: &str) -> bool {
    matches(password, hashed).unwrap_or(false)
}

fn matches(password: &str, hashed: &str) -> Option<bool> {
    let rest = hashed.strip_prefix("$argon2id$v=19$")?;
    let [costs, salt, hash] = rest.split('$').collect::<Vec<_>>().try_into().ok()?;
    let costs: Vec<u32> = ["m=", "t=", "p="]
        .into_iter()
        .zip(costs.split(','))
        .map(|(name, cost)| cost.strip_prefix(name)?.parse().ok())
        .collect::<Option<_>>()?;
    let &[memory, rounds, lanes] = &costs[..] else { return None };
    let params = Params::new(memory, rounds, lanes, Some(HASH_BYTES)).ok()?;
    let found = derive(password, &BASE64_STANDARD_NO_PAD.decode(salt).ok()?, params)?;
    Some(found.ct_eq(&BASE64_STANDARD_NO_PAD.decode(hash).ok()?).into())
}

fn derive(password: &str, salt: &[u8], params: Params) -> Option<[u8; HASH_BYTES]> {
    let mut hash = [0; HASH_BYTES];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.as_bytes(), salt, &mut hash)
        .ok()?;
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash_alone() {
        let hashed = hash("correct horse battery");
        assert!(hashed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hashed}");
        assert!(is("correct horse battery", &hashed) && !is("correct horse batterz", &hashed));
        assert_ne!(hash("correct horse battery"), hashed, "each has a salt of its own");
        for broken in ["", "x", "$argon2id$v=19$m=19456,t=2,p=1$$", "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"] {
            assert!(!is("", broken), "{broken}");
        }
    }
}
