//! Is a token good, and whom does it name?
//!
//! The rules: **nothing in a token decides how it is checked** (the algorithms are the partner's, the key is found by its id
//! among those of the partner's issuer, and a header that brings or names keys is refused), and **every token costs the same**:
//! one reading of a header, one verification of a signature, one reading of claims and all checks of them, whatever is wrong
//! with it. Where the signature of a token cannot be verified, that of a decoy is, with a key of the same set. What differs is
//! what the sender knows already: the length of the token, and that the issuer signed it.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::Validation;
use larder_model::identities::{EndUser, IdentitySettings, SigningAlgorithm};
use larder_model::strict_json;
use larder_model::time::Millis;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::identity::crypto;
use crate::identity::keys::{Key, KeySet, library};

/// Longer ones are not looked at.
const TOKEN_BYTES_MAX: usize = 8 << 10;
const DEPTH_MAX: u8 = 8;
const KEY_ID_BYTES_MAX: usize = 256;
/// By how much the clock of an issuer may differ.
const LEEWAY_S: f64 = 30.0;
/// The end of the year 9999: what is later was meant in milliseconds.
const LAST_S: f64 = 253_402_300_799.0;
/// Members of a header that bring or name a key, or change what the token is.
const REFUSED_MEMBERS: [&str; 9] = ["crit", "jku", "x5u", "x5c", "jwk", "b64", "cty", "enc", "zip"];
/// Read in place of a token that has no three parts.
const NO_PARTS: [&str; 3] = ["e30", "e30", ""];

/// Why a token was refused: for the log, the metrics and whoever may change the settings, never for its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Malformed,
    Header,
    Algorithm,
    UnknownKey,
    Signature,
    Claims,
    Issuer,
    Audience,
    Expired,
    NotYet,
    Subject,
    User,
}

impl Why {
    pub fn word(self) -> &'static str {
        match self {
            Why::Malformed => "malformed",
            Why::Header => "header",
            Why::Algorithm => "algorithm",
            Why::UnknownKey => "unknown_key",
            Why::Signature => "signature",
            Why::Claims => "claims",
            Why::Issuer => "issuer",
            Why::Audience => "audience",
            Why::Expired => "expired",
            Why::NotYet => "not_yet",
            Why::Subject => "subject",
            Why::User => "user",
        }
    }

    pub fn text(self) -> &'static str {
        match self {
            Why::Malformed => "it has not three parts in base64url, or more than 8192 bytes",
            Why::Header => {
                "its header is not JSON with `alg` and `kid`, has another `typ` than JWT or at+jwt, a member twice, or one of \
                 crit, jku, x5u, x5c, jwk, b64, cty, enc and zip"
            }
            Why::Algorithm => "its `alg` is none of the `algorithms`",
            Why::UnknownKey => "no key at `jwksUrl` has its `kid` and fits its `alg`",
            Why::Signature => "its signature is not that of the key",
            Why::Claims => "its claims are not a JSON object, have a member twice or are nested too deep",
            Why::Issuer => "its `iss` is not the `issuer`",
            Why::Audience => "its `aud` is missing, or names others than the `audiences`",
            Why::Expired => "it has expired, or its `exp` is missing or no time in seconds",
            Why::NotYet => "its `nbf` or `iat` is in the future or no time in seconds",
            Why::Subject => "its `sub` is missing or no text",
            Why::User => "its `userClaim` or `labelsClaim` has no usable value",
        }
    }
}

struct Header {
    algorithm: SigningAlgorithm,
    key: String,
}

impl Header {
    fn read(part: &str, allowed: &[SigningAlgorithm]) -> Result<Header, Why> {
        let bytes = decoded(part);
        // Read whatever it is: a refusal must not be earlier than another.
        let value = read(bytes.as_deref().unwrap_or_default());
        let value = bytes.ok_or(Why::Malformed).and(value.ok_or(Why::Header))?;
        let member = |name: &str| value.get(name).and_then(Value::as_str).ok_or(Why::Header);
        let typ = value.get("typ").map_or(Some("JWT"), Value::as_str).unwrap_or_default();
        let typ = typ.strip_prefix("application/").unwrap_or(typ);
        let is_token = typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("at+jwt");
        if !is_token || REFUSED_MEMBERS.iter().any(|name| value.get(name).is_some()) {
            return Err(Why::Header);
        }
        let (algorithm, key) = (member("alg")?, member("kid")?);
        let algorithm = SigningAlgorithm::from_word(algorithm).filter(|algorithm| allowed.contains(algorithm));
        let key = (1..=KEY_ID_BYTES_MAX).contains(&key.len()).then(|| key.to_owned());
        Ok(Header { algorithm: algorithm.ok_or(Why::Algorithm)?, key: key.ok_or(Why::Header)? })
    }
}

pub fn verify(settings: &IdentitySettings, set: &KeySet, token: &str, now: Millis) -> Result<EndUser, Why> {
    verify_claims(settings, set, token, now).map(|(user, _)| user)
}

/// The same, with all claims of the token.
pub fn verify_claims(
    settings: &IdentitySettings,
    set: &KeySet,
    token: &str,
    now: Millis,
) -> Result<(EndUser, Value), Why> {
    crypto::install();
    let parts = parts(token);
    let [head, body, signature] = parts.unwrap_or(NO_PARTS);

    let header = Header::read(head, &settings.algorithms);
    let known = header.as_ref().map_err(|why| *why).and_then(|header| {
        let key = set.find(&header.key, header.algorithm).ok_or(Why::UnknownKey)?;
        let signature = decoded(signature).ok_or(Why::Malformed)?;
        if signature.len() == key.signature_bytes { Ok((key, header.algorithm)) } else { Err(Why::Signature) }
    });

    let signed = match known {
        Ok((key, algorithm)) => signed(settings, key, algorithm, token),
        Err(why) => {
            if let Some((key, algorithm)) = set.decoy(&settings.algorithms) {
                let _ = self::signed(settings, key, algorithm, &decoy(key, algorithm));
            }
            Err(why)
        }
    };

    let claims = self::read(&decoded(body).unwrap_or_default()).filter(Value::is_object);
    let no_claims = Value::Object(serde_json::Map::new());
    let read = claims.as_ref().unwrap_or(&no_claims);
    let now_s = now as f64 / 1_000.0;
    let time = |name: &str| read.get(name).map(|value| value.as_f64().filter(|at| (0.0..=LAST_S).contains(at)));
    let begun = |name: &str| time(name).is_none_or(|at| at.is_some_and(|at| at <= now_s + LEEWAY_S));
    let subject = read.get("sub").and_then(Value::as_str).is_some_and(|subject| !subject.is_empty());
    let user = EndUser::of(settings, read);
    let checks = [
        parts.map(|_| ()).ok_or(Why::Malformed),
        signed,
        claims.is_some().then_some(()).ok_or(Why::Claims),
        (read.get("iss").and_then(Value::as_str) == Some(&settings.issuer)).then_some(()).ok_or(Why::Issuer),
        is_for(settings, read.get("aud")).then_some(()).ok_or(Why::Audience),
        time("exp").flatten().is_some_and(|at| now_s < at + LEEWAY_S).then_some(()).ok_or(Why::Expired),
        (begun("nbf") & begun("iat")).then_some(()).ok_or(Why::NotYet),
        subject.then_some(()).ok_or(Why::Subject),
        user.is_some().then_some(()).ok_or(Why::User),
    ];
    checks.into_iter().collect::<Result<(), Why>>()?;
    Ok((user.ok_or(Why::User)?, claims.ok_or(Why::Claims)?))
}

fn parts(token: &str) -> Option<[&str; 3]> {
    let mut parts = token.split('.');
    let three = [parts.next()?, parts.next()?, parts.next()?];
    (token.len() <= TOKEN_BYTES_MAX && parts.next().is_none()).then_some(three)
}

fn decoded(part: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(part).ok()
}

fn read(text: &[u8]) -> Option<Value> {
    #[cfg(test)]
    tests::count(|work| work.readings += 1);
    strict_json::read(text, DEPTH_MAX).ok()
}

/// Every audience must be one of the partner's: a token that is for somebody else, too, could have been handed on by them.
fn is_for(settings: &IdentitySettings, audience: Option<&Value>) -> bool {
    let is_ours = |one: &Value| one.as_str().is_some_and(|one| settings.audiences.iter().any(|ours| ours == one));
    match audience {
        Some(Value::Array(all)) => !all.is_empty() && all.iter().all(is_ours),
        Some(one) => is_ours(one),
        None => false,
    }
}

/// The library's own verdict: the signature, and that the claims that must be there are, from this issuer and for us.
fn signed(settings: &IdentitySettings, key: &Key, algorithm: SigningAlgorithm, token: &str) -> Result<(), Why> {
    use jsonwebtoken::errors::ErrorKind;
    let mut validation = Validation::new(library(algorithm));
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.set_issuer(&[&settings.issuer]);
    validation.set_audience(&settings.audiences);
    // By Larder's clock, below; the library would ask the system's.
    validation.validate_exp = false;
    let decoded = jsonwebtoken::decode::<IgnoredAny>(token, &key.decoding, &validation);
    decoded.map(|_| ()).map_err(|err| match err.kind() {
        ErrorKind::InvalidIssuer => Why::Issuer,
        ErrorKind::InvalidAudience => Why::Audience,
        ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim) => match claim.as_str() {
            "iss" => Why::Issuer,
            "aud" => Why::Audience,
            "sub" => Why::Subject,
            _ => Why::Expired,
        },
        ErrorKind::Json(_) | ErrorKind::Utf8(_) => Why::Claims,
        _ => Why::Signature,
    })
}

/// A token whose signature has the form of one by this key.
fn decoy(key: &Key, algorithm: SigningAlgorithm) -> String {
    let header = BASE64_URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{}"}}"#, algorithm.word()));
    // Numbers in the range of every algorithm, so that none is dismissed at once.
    let signature = BASE64_URL_SAFE_NO_PAD.encode(vec![5; key.signature_bytes]);
    format!("{header}.e30.{signature}")
}

#[cfg(test)]
pub mod tests;
