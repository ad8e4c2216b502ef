//! People who sign in: a partner's administrators and the operators of the installation; where they may, and by which links.

use serde::{Deserialize, Serialize};

use crate::ids::{AdministratorId, PartnerId, SessionId};
use crate::time::Millis;
use crate::words::words;

words! {
    /// What somebody may do where.
    Role {
        /// Sees what there is, in a partner or in the installation, and changes nothing.
        Viewer = "viewer",
        /// Changes functions of a partner, and retries what failed.
        Developer = "developer",
        /// Says yes to what functions of a partner may reach.
        Approver = "approver",
        /// Everything in a partner.
        Administrator = "administrator",
        /// What concerns the installation and no partner's data.
        Operator = "operator",
    }
}

impl Role {
    /// Can somebody have it there?
    pub fn is_of(self, place: &Place) -> bool {
        match self {
            Role::Viewer => true,
            Role::Developer | Role::Approver | Role::Administrator => matches!(place, Place::Partner(_)),
            Role::Operator => matches!(place, Place::Installation),
        }
    }
}

/// A role in a partner or, with `None`, in the installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleIn {
    pub partner: Option<PartnerId>,
    pub role: Role,
}

impl RoleIn {
    pub fn place(&self) -> Place {
        self.partner.clone().map_or(Place::Installation, Place::Partner)
    }
}

/// Where somebody signs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The console of a partner.
    Partner(PartnerId),
    /// The console of the installation.
    Installation,
}

#[derive(Clone, Debug)]
pub struct Administrator {
    pub id: AdministratorId,
    /// In its canonical form ([`check_email`]).
    pub email: String,
    pub name: String,
    /// A PHC string. Empty until the person has set a password.
    pub password_hash: String,
    /// Who has not verified it does not sign in.
    pub email_verified_at_ms: Option<Millis>,
    /// Signing in needs more than the password.
    pub second_factor: bool,
    /// They sign in at the operator's provider, and no password of theirs counts.
    pub is_of_provider: bool,
    pub roles: Vec<RoleIn>,
    pub password_at_ms: Millis,
    pub created_at_ms: Millis,
    pub updated_at_ms: Millis,
}

impl Administrator {
    /// The role in this partner.
    pub fn role_in(&self, partner: &PartnerId) -> Option<Role> {
        self.roles.iter().find(|role| role.partner.as_ref() == Some(partner)).map(|role| role.role)
    }

    /// The role in the installation.
    pub fn role_of_installation(&self) -> Option<Role> {
        self.roles.iter().find(|role| role.partner.is_none()).map(|role| role.role)
    }

    /// Has a role there.
    pub fn may_enter(&self, place: &Place) -> bool {
        match place {
            Place::Partner(partner) => self.role_in(partner).is_some(),
            Place::Installation => self.role_of_installation().is_some(),
        }
    }

    pub fn is_operator(&self) -> bool {
        self.role_of_installation() == Some(Role::Operator)
    }
}

#[derive(Clone, Debug)]
pub struct Session {
    pub id: SessionId,
    pub administrator: AdministratorId,
    /// SHA-256 of the token, in hex.
    pub secret_hash: String,
    /// Where it was begun.
    pub address: String,
    pub agent: String,
    pub created_at_ms: Millis,
    pub updated_at_ms: Millis,
    /// Each use moves it on.
    pub ends_at_ms: Millis,
    /// The latest end.
    pub expires_at_ms: Millis,
}

words! {
    /// What a link does for whom it was made.
    LinkKind {
        /// It sets a password, once.
        Password = "password",
        /// It signs in, from this machine only. `larder dev` prints such links.
        Session = "session",
    }
}

/// A link for one person. Each has at most one of a kind: a newer one replaces it.
#[derive(Clone, Debug)]
pub struct Link {
    pub administrator: AdministratorId,
    pub kind: LinkKind,
    /// SHA-256 of the token, in hex.
    pub secret_hash: String,
    pub created_at_ms: Millis,
    pub expires_at_ms: Millis,
}

const EMAIL_BYTES_MAX: usize = 254;

/// The address in the one form in which it is stored and compared: in lower case.
pub fn check_email(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    if text.len() > EMAIL_BYTES_MAX {
        return Err("must have at most 254 characters");
    }
    let (local, domain) = text.rsplit_once('@').ok_or("is no e-mail address: it has no @")?;
    let of_local = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~.-".contains(&b);
    if !(1..=64).contains(&local.len()) || !local.bytes().all(of_local) {
        return Err("is no e-mail address: before the @ stand 1 to 64 letters, digits and . _ + -");
    }
    let domain = domain.to_ascii_lowercase();
    if !domain.split('.').all(crate::rules::is_label) {
        return Err("is no e-mail address: behind the @ stands a domain");
    }
    Ok(format!("{}@{domain}", local.to_ascii_lowercase()))
}

const PASSWORD_CHARS: std::ops::RangeInclusive<usize> = 12..=256;

pub fn check_password(password: &str) -> Result<(), &'static str> {
    if !PASSWORD_CHARS.contains(&password.chars().count()) {
        return Err("must have 12 to 256 characters");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_form() {
        assert_eq!(check_email(" Anna.B+x@Bank.Example "), Ok("anna.b+x@bank.example".into()));
        for text in
            ["", "anna", "@bank.example", "anna@", "an na@x.example", "a@b@c.", "anna@-x.example", "ä@x.example"]
        {
            assert!(check_email(text).is_err(), "{text}");
        }
        assert!(check_email(&format!("a@{}.example", "x".repeat(250))).is_err());
    }

    #[test]
    fn passwords_have_a_length() {
        assert!(check_password("elevenchars").is_err() && check_password("twelve chars").is_ok());
        assert!(check_password(&"ä".repeat(256)).is_ok() && check_password(&"a".repeat(257)).is_err());
    }
}
