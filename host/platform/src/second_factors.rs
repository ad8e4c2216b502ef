//! The second factor: time-based one-time passwords (RFC 6238), and recovery codes that stand in for them.
//!
//! * [`offer`] makes a secret for somebody who has signed in; it is stored once they have shown a code of it ([`set_up`]).
//! * [`is`]: does a code count? Each counts once, and attempts are counted as those with passwords ([`administrators`]).
//!
//! An offer is kept by the client, sealed and bound to its session, so that one that is not taken leaves nothing behind.

use std::net::IpAddr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use larder_model::administrators::Administrator;
use larder_model::audit::Action;
use larder_model::ids::AdministratorId;
use totp_rs::{Builder, Secret, Totp};

use crate::administrators::{self, Administration, SignedIn};
use crate::common::Common;
use crate::error::{Error, Result};
use crate::keys;

const SECRET_BYTES: usize = 20;
const CODES: usize = 10;
/// Letters and digits that are not mistaken for one another. A code has 59 bits.
const LETTERS: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";
const CODE_LETTERS: usize = 12;
const CODE_BYTES_MAX: usize = 64;

/// A secret that somebody may take.
pub struct Offer {
    /// What comes back with the first code.
    pub sealed: String,
    /// As programs read it from a picture.
    pub url: String,
    /// As people type it.
    pub secret: String,
}

/// Does somebody need a second factor here and has none? Who has no password signs in from this machine only, by a link.
pub fn is_missing(common: &Common, administrator: &Administrator) -> bool {
    let of = &common.settings.administrators.second_factor_for;
    let by_password = !administrator.password_hash.is_empty();
    by_password && !administrator.second_factor && administrator.roles.iter().any(|role| of.contains(&role.role))
}

pub fn offer(administration: &Administration, by: &SignedIn) -> Offer {
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret).expect("the operating system gives random bytes");
    let sealed = administration.secrets.seal(&context_of_offer(by), &secret);
    described(administration, by, &secret, BASE64_URL_SAFE_NO_PAD.encode(sealed))
}

/// The same offer again, after a wrong code.
pub fn offered(administration: &Administration, by: &SignedIn, sealed: &str) -> Result<Offer> {
    let secret = open_offer(administration, by, sealed)?;
    Ok(described(administration, by, &secret, sealed.to_owned()))
}

fn described(administration: &Administration, by: &SignedIn, secret: &[u8; SECRET_BYTES], sealed: String) -> Offer {
    let secret = Secret::from(*secret).to_base32();
    let host = administration.settings.root_host().unwrap_or_default();
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20");
    let url = format!(
        "otpauth://totp/Larder%20{}:{}?secret={secret}&issuer=Larder%20{}",
        encode(&host),
        encode(&by.administrator.email),
        encode(&host)
    );
    Offer { sealed, url, secret }
}

fn context_of_offer(by: &SignedIn) -> [&str; 3] {
    ["offer of a second factor", by.administrator.id.as_str(), by.session.id.as_str()]
}

fn open_offer(administration: &Administration, by: &SignedIn, sealed: &str) -> Result<[u8; SECRET_BYTES]> {
    let wrong = || Error::invalid("offer", "is not one of this session: load the page again");
    let sealed = BASE64_URL_SAFE_NO_PAD.decode(sealed).map_err(|_| wrong())?;
    let plain = administration.secrets.open(&context_of_offer(by), &sealed).map_err(|_| wrong())?;
    plain[..].try_into().map_err(|_| wrong())
}

/// Sets up what was offered, for somebody who shows their password and a code of it. Returns the recovery codes, which are shown
/// once. All other sessions end.
pub async fn set_up(
    administration: &Administration,
    by: &mut SignedIn,
    sealed: &str,
    code: &str,
    password: String,
    address: IpAddr,
) -> Result<Vec<String>> {
    let secret = open_offer(administration, by, sealed)?;
    if !by.administrator.password_hash.is_empty() {
        administrators::ask_again(administration, by, password, address).await?;
    }
    let now = administration.clock.now_ms();
    let step = step_of(&secret, code, now).ok_or_else(|| Error::invalid("code", "is not the one of this moment"))?;
    let codes: Vec<String> = (0..CODES).map(|_| new_code()).collect();
    let hashes: Vec<String> = codes.iter().map(|code| code_hash(code)).collect();
    let id = &by.administrator.id;
    let sealed = administration.secrets.seal(&["second factor", id.as_str()], &secret);
    let store = administrators::own(administration, &by.administrator, Action::AdministratorSetSecondFactor);
    store.set_second_factor(id, &sealed, step, &hashes, &by.session.id, now).await?;
    by.administrator.second_factor = true;
    tracing::info!(administrator.id = %id, "administrator {id} has set up a second factor");
    Ok(codes)
}

/// Is this the code of the moment, or a recovery code? It is used up.
pub async fn is(administration: &Administration, of: &AdministratorId, code: &str) -> Result<bool> {
    let Some(sealed) = administration.store.second_factor(of).await? else { return Ok(false) };
    let secret = administration.secrets.open(&["second factor", of.as_str()], &sealed)?;
    let code = code.trim();
    if code.len() > CODE_BYTES_MAX {
        return Ok(false);
    }
    if let Some(step) = step_of(&secret, code, administration.clock.now_ms()) {
        return Ok(administration.store.use_second_factor(of, step).await?);
    }
    Ok(administration.store.use_recovery_code(of, &code_hash(code)).await?)
}

/// The step of time that a code is of: the present one, or one of its neighbours.
fn step_of(secret: &[u8], code: &str, now_ms: i64) -> Option<i64> {
    let totp: Totp = Builder::new().with_secret(Secret::from(secret.to_vec())).build().ok()?;
    let digits: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    Some(totp.check(&digits, (now_ms / 1_000) as u64)? as i64)
}

fn new_code() -> String {
    let mut bytes = [0; CODE_LETTERS];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}

/// However it is typed: without blanks and dashes, in small letters.
fn code_hash(code: &str) -> String {
    let code: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
    hex::encode(keys::hash(&format!("recovery code {}", code.to_ascii_lowercase())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_standard() {
        // RFC 6238, appendix B, shortened to six digits.
        let secret = b"12345678901234567890";
        for (at_s, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            assert_eq!(step_of(secret, code, at_s * 1_000), Some(at_s / 30), "{at_s}");
            assert_eq!(step_of(secret, &format!("{} {}", &code[..3], &code[3..]), at_s * 1_000), Some(at_s / 30));
            // One step early or late is the clock's fault, two are not.
            assert_eq!(step_of(secret, code, (at_s + 30) * 1_000), Some(at_s / 30));
            assert_eq!(step_of(secret, code, (at_s + 60) * 1_000), None);
        }
        for none in ["", "28708", "2870820", "28708x", "\u{0662}87082"] {
            assert_eq!(step_of(secret, none, 59_000), None, "{none}");
        }
    }

    #[test]
    fn recovery_codes_are_read_as_people_type_them() {
        let code = new_code();
        assert_eq!(code.len(), CODE_LETTERS);
        assert!(code.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{code}");
        let typed = format!(" {}-{} ", code[..6].to_uppercase(), &code[6..]);
        assert_eq!(code_hash(&typed), code_hash(&code));
        assert_ne!(code_hash(&new_code()), code_hash(&code));
    }
}
