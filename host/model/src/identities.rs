//! How a partner's end users prove who they are: by tokens (JWT) that the partner's identity provider signs.
//!
//! * [`IdentitySettings`]: which tokens are good, and from where the keys come that they are checked with.
//! * [`EndUser`]: whom a good token names, and which roles of `execute` that gives.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::ids::PartnerId;
use crate::net::authority::Authority;
use crate::net::http_rule;
use crate::text;
use crate::time::Millis;
use crate::upstreams::Base;
use crate::words::words;

/// Of an end user's id: what an enrolment can have.
pub const USER_CHARS_MAX: usize = 128;
const LABELS_MAX: usize = 100;

words! {
    /// How a token is signed. There is no symmetric one: whoever can check such a token can make one.
    SigningAlgorithm {
        Rs256 = "RS256",
        Rs384 = "RS384",
        Rs512 = "RS512",
        Ps256 = "PS256",
        Ps384 = "PS384",
        Ps512 = "PS512",
        Es256 = "ES256",
        Es384 = "ES384",
        EdDsa = "EdDSA",
    }
}

/// The identity settings of a partner. The JSON form is what the API speaks and what is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentitySettings {
    /// The `iss` of every token, character by character.
    pub issuer: String,
    /// A token must be for one or more of these and for nobody else (`aud`).
    pub audiences: Vec<String>,
    /// Where the issuer's keys are (RFC 7517).
    pub jwks_url: String,
    /// Any other algorithm is refused, whatever a token or a key says.
    #[serde(default = "IdentitySettings::algorithms")]
    #[schema(value_type = Vec<String>)]
    pub algorithms: Vec<SigningAlgorithm>,
    /// The claim with the id of the end user, as enrolments have it: a name, or a JSON pointer such as `/ext/saver`.
    #[serde(default = "IdentitySettings::user_claim")]
    pub user_claim: String,
    /// The claim with the labels: a list of texts, or one text with spaces between. Empty: end users have none.
    #[serde(default)]
    pub labels_claim: String,
    /// The claim that is `true` for end users whose identity was verified.
    #[serde(default = "IdentitySettings::verified_claim")]
    pub verified_claim: String,
    /// Pages of these origins may call the end users' endpoints, such as `https://app.example`.
    #[serde(default)]
    pub origins: Vec<String>,
    /// The private networks (CIDR) in which the keys may lie, which the operator's `egress.private_networks` must contain.
    #[serde(default)]
    pub networks: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub partner: PartnerId,
    pub settings: IdentitySettings,
    pub created_at_ms: Millis,
    pub updated_at_ms: Millis,
}

/// The keys as they were last fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedKeys {
    pub jwks_url: String,
    /// The document (a JWK set).
    pub document: String,
    pub fetched_at_ms: Millis,
}

impl IdentitySettings {
    fn algorithms() -> Vec<SigningAlgorithm> {
        vec![SigningAlgorithm::Rs256, SigningAlgorithm::Es256]
    }

    fn user_claim() -> String {
        "sub".into()
    }

    fn verified_claim() -> String {
        "email_verified".into()
    }

    /// Names the first setting that cannot be, and why.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        is_text(&self.issuer).map_err(|why| ("issuer", why))?;
        count("audiences", self.audiences.len(), 1, 16)?;
        self.audiences.iter().try_for_each(|one| is_text(one)).map_err(|why| ("audiences", why))?;
        self.source()?;
        count("algorithms", self.algorithms.len(), 1, SigningAlgorithm::WORDS.len())?;
        for (name, claim, needed) in [
            ("userClaim", &self.user_claim, true),
            ("labelsClaim", &self.labels_claim, false),
            ("verifiedClaim", &self.verified_claim, false),
        ] {
            if needed || !claim.is_empty() {
                is_text(claim).map_err(|why| (name, why))?;
            }
        }
        count("origins", self.origins.len(), 0, 50)?;
        self.origins.iter().try_for_each(|origin| is_origin(origin)).map_err(|why| ("origins", why))?;
        count("networks", self.networks.len(), 0, 16)
    }

    /// Where the keys are: the base, and path with query.
    pub fn source(&self) -> Result<(Base, String), (&'static str, String)> {
        let (before, query) = match self.jwks_url.split_once('?') {
            Some((before, query)) => (before, Some(query)),
            None => (self.jwks_url.as_str(), None),
        };
        let wrong = |why: &str| ("jwksUrl", why.to_owned());
        if self.jwks_url.len() > 1_024 {
            return Err(wrong("may have at most 1024 characters"));
        }
        let base = Base::parse(before).map_err(|why| ("jwksUrl", why))?;
        base.host.parse::<Authority>().map_err(|why| ("jwksUrl", why.to_string()))?;
        if !base.tls && self.networks.is_empty() {
            return Err(wrong(
                "must begin with https:// (http:// only within `networks`): whoever sends other keys can be anybody",
            ));
        }
        self.networks
            .iter()
            .try_for_each(|text| http_rule::network(text).map(|_| ()))
            .map_err(|why| ("networks", why))?;
        let path = if base.path.is_empty() { "/" } else { &base.path };
        let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        match target.parse::<http::uri::PathAndQuery>() {
            Ok(fine) if fine.as_str() == target => Ok((base, target)),
            _ => Err(wrong("has a query with characters that must be percent-encoded")),
        }
    }

    /// May pages of this origin call the end users' endpoints?
    pub fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| allowed == origin)
    }
}

fn count(name: &'static str, has: usize, least: usize, most: usize) -> Result<(), (&'static str, String)> {
    match (least..=most).contains(&has) {
        true => Ok(()),
        false => Err((name, format!("must have {least} to {most} values, not {has}"))),
    }
}

fn is_text(text: &str) -> Result<(), String> {
    match (1..=512).contains(&text.len()) && text.trim() == text {
        true => text::check(text).map_err(Into::into),
        false => Err("must have 1 to 512 bytes, without spaces around them".into()),
    }
}

/// As browsers write an origin (RFC 6454, section 6.2): no path, no port that is the scheme's own, lower case.
fn is_origin(text: &str) -> Result<(), String> {
    let base = Base::parse(text).map_err(|why| format!("{text:?} {why}"))?;
    let own = if base.tls { 443 } else { 80 };
    let scheme = if base.tls { "https" } else { "http" };
    let port = if base.port == own { String::new() } else { format!(":{}", base.port) };
    let written = format!("{scheme}://{}{port}", base.host);
    match written == text {
        true => Ok(()),
        false => Err(format!("{text:?} is not as browsers send it: {written}")),
    }
}

/// The claim of this name, or at this JSON pointer.
pub fn claim<'c>(claims: &'c Value, name: &str) -> Option<&'c Value> {
    if name.starts_with('/') { claims.pointer(name) } else { claims.get(name) }
}

/// An end user of a partner, as a token names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndUser {
    /// As enrolments have it.
    pub id: String,
    pub verified: bool,
    pub labels: Vec<String>,
}

impl EndUser {
    /// Whom these claims name; `None` if they name nobody properly.
    pub fn of(settings: &IdentitySettings, claims: &Value) -> Option<EndUser> {
        let id = claim(claims, &settings.user_claim)?.as_str()?;
        let chars = id.chars().count();
        if !(1..=USER_CHARS_MAX).contains(&chars) || id.trim() != id || text::check(id).is_err() {
            return None;
        }
        let labels = match claim(claims, &settings.labels_claim).filter(|_| !settings.labels_claim.is_empty()) {
            None | Some(Value::Null) => vec![],
            Some(Value::String(text)) => text.split(' ').filter(|label| !label.is_empty()).map(str::to_owned).collect(),
            Some(Value::Array(labels)) => {
                labels.iter().map(|label| label.as_str().map(str::to_owned)).collect::<Option<Vec<String>>>()?
            }
            Some(_) => return None,
        };
        let verified = claim(claims, &settings.verified_claim) == Some(&Value::Bool(true));
        (labels.len() <= LABELS_MAX).then(|| EndUser { id: id.to_owned(), verified, labels })
    }

    /// Does this role of a function's `execute` name them? Teams and their members are not known from tokens.
    pub fn has(&self, role: &str) -> bool {
        let (role, dimension) = match role.split_once('/') {
            Some((role, dimension)) => (role, Some(dimension)),
            None => (role, None),
        };
        let is = match role.split_once(':') {
            None => matches!(role, "any" | "users"),
            Some(("user", id)) => id == self.id,
            Some(("label", label)) => self.labels.iter().any(|own| own == label),
            Some(_) => false,
        };
        is && dimension.is_none_or(|dimension| dimension == if self.verified { "verified" } else { "unverified" })
    }
}

/// May this caller execute a function with these roles? `None` is a guest.
pub fn may_execute(roles: &[String], user: Option<&EndUser>) -> bool {
    roles.iter().any(|role| match user {
        Some(user) => user.has(role),
        None => matches!(role.as_str(), "any" | "guests"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings() -> IdentitySettings {
        IdentitySettings {
            issuer: "https://id.example".into(),
            audiences: vec!["app".into()],
            jwks_url: "https://id.example/keys?p=a%20b".into(),
            algorithms: IdentitySettings::algorithms(),
            user_claim: "sub".into(),
            labels_claim: "/realm/roles".into(),
            verified_claim: IdentitySettings::verified_claim(),
            origins: vec!["https://app.example".into(), "http://localhost:3000".into()],
            networks: vec![],
        }
    }

    #[test]
    fn settings_are_refused_by_name() {
        assert_eq!(settings().check(), Ok(()));
        assert_eq!(settings().source().unwrap().1, "/keys?p=a%20b");
        type Change = fn(&mut IdentitySettings);
        let wrong: [(&str, Change); 13] = [
            ("issuer", |s| s.issuer.clear()),
            ("issuer", |s| s.issuer.push(' ')),
            ("audiences", |s| s.audiences.clear()),
            ("audiences", |s| s.audiences.push("\u{202e}".into())),
            ("jwksUrl", |s| s.jwks_url = "http://id.example/keys".into()),
            ("jwksUrl", |s| s.jwks_url = "https://a@id.example/keys".into()),
            ("jwksUrl", |s| s.jwks_url = "https://0x7f.1/keys".into()),
            ("jwksUrl", |s| s.jwks_url = "https://id.example/keys?a b".into()),
            ("algorithms", |s| s.algorithms.clear()),
            ("userClaim", |s| s.user_claim.clear()),
            ("origins", |s| s.origins.push("https://app.example/".into())),
            ("origins", |s| s.origins.push("https://App.example:443".into())),
            ("networks", |s| s.networks.push("10.0.0.1/8".into())),
        ];
        for (name, change) in wrong {
            let mut changed = settings();
            change(&mut changed);
            assert_eq!(changed.check().unwrap_err().0, name);
        }
        let read = |more: Value| {
            let mut text = json!({ "issuer": "i", "audiences": ["a"], "jwksUrl": "https://x.example/k" });
            text.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value::<IdentitySettings>(text)
        };
        assert_eq!(read(json!({})).unwrap().user_claim, "sub");
        assert!(read(json!({ "algorithms": ["HS256"] })).is_err() && read(json!({ "algorithms": ["none"] })).is_err());
    }

    #[test]
    fn claims_name_an_end_user_with_roles() {
        let of = |claims: Value| EndUser::of(&settings(), &claims);
        let anna = of(json!({ "sub": "anna", "email_verified": true, "realm": { "roles": ["vip"] } })).unwrap();
        for (role, has) in [
            ("any", true),
            ("guests", false),
            ("users", true),
            ("users/verified", true),
            ("users/unverified", false),
            ("user:anna", true),
            ("user:anna/verified", true),
            ("user:bo", false),
            ("label:vip", true),
            ("label:v", false),
            ("team:vip", false),
            ("member:anna", false),
        ] {
            assert_eq!(anna.has(role), has, "{role}");
        }
        assert!(may_execute(&["guests".into()], None) && !may_execute(&["guests".into()], Some(&anna)));
        assert!(!may_execute(&[], Some(&anna)) && !may_execute(&["users".into()], None));
        assert_eq!(of(json!({ "sub": "a", "realm": { "roles": "x  y" } })).unwrap().labels, ["x", "y"]);
        assert!(!of(json!({ "sub": "a", "email_verified": "true" })).unwrap().verified);
        for nobody in [
            json!({}),
            json!({ "sub": "" }),
            json!({ "sub": 7 }),
            json!({ "sub": ["a"] }),
            json!({ "sub": " a" }),
            json!({ "sub": "a\u{200b}" }),
            json!({ "sub": "a".repeat(129) }),
            json!({ "sub": "a", "realm": { "roles": [1] } }),
            json!({ "sub": "a", "realm": { "roles": 1 } }),
        ] {
            assert_eq!(of(nobody.clone()), None, "{nobody}");
        }
    }
}
