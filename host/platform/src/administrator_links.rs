//! Links that are handed to a person: they set a password, or sign in from this machine.
//!
//! * [`make`] makes a link and puts it in the place of an older one; [`invite`] and [`reset`] also write a letter with it. [`find`]
//!   knows its token again.
//! * [`set_password`] and [`sign_in`] do what it is for.
//!
//! The token is `link_<administrator>_<64 hex digits>_<8 hex digits>`; only its SHA-256 is stored. Whatever does not fit (a token
//! that is damaged, used, expired, of another kind, or of somebody without a role there) is answered alike.

use std::net::IpAddr;

use larder_model::administrators::{Administrator, Link, LinkKind, Place, check_password};
use larder_model::audit::Action;
use larder_model::ids::AdministratorId;
use larder_model::time::{Millis, rfc3339};
use larder_signals::Work;
use larder_store::NewMail;

use crate::administrators::{self, Administration, SignedIn};
use crate::audit::Change;
use crate::common::Common;
use crate::error::{Error, Result};
use crate::mails::Letter;
use crate::{keys, mails};

const PREFIX: &str = "link_";

/// A link that was just made. Its address is shown once and never stored.
pub struct Made {
    pub url: String,
    pub expires_at_ms: Millis,
}

/// Makes a link to the console where the person has a role; to that of the installation, if they have one there.
pub async fn make(common: &Common, of: &Administrator, kind: LinkKind) -> Result<Made> {
    let (link, made) = new(common, of, kind, None)?;
    put(common, of, &link, None).await?;
    Ok(made)
}

/// Makes a link that sets a password, and writes the letter with it, if there is mail here. `true`: it is written.
pub async fn invite(
    administration: &Administration,
    of: &Administrator,
    letter: impl FnOnce(&Made) -> Letter,
) -> Result<(Made, bool)> {
    let (link, made) = new(administration, of, LinkKind::Password, None)?;
    let mail = mails::write(administration, of, link.expires_at_ms, &letter(&made)).await?;
    put(administration, of, &link, mail.as_ref()).await?;
    Ok((made, mail.is_some()))
}

/// Sends whoever has this address, and a role there, a link that sets a password. Nothing is told of whether there is somebody.
pub async fn reset(
    administration: &Administration,
    email: &str,
    place: &Place,
    letter: impl FnOnce(&Made) -> Letter,
) -> Result<()> {
    let Some((id, _)) = administration.store.password_of_email(email).await? else { return Ok(()) };
    let found = administration.store.administrator(&id).await?;
    let may =
        |found: &Administrator| found.may_enter(place) && !found.is_of_provider && found.email_verified_at_ms.is_some();
    let Some(of) = found.filter(may) else { return Ok(()) };
    let (link, made) = new(administration, &of, LinkKind::Password, Some(place))?;
    // A link that nobody gets would only void an older one.
    let Some(mail) = mails::write(administration, &of, link.expires_at_ms, &letter(&made)).await? else {
        return Ok(());
    };
    put(administration, &of, &link, Some(&mail)).await
}

async fn put(common: &Common, of: &Administrator, link: &Link, mail: Option<&NewMail>) -> Result<()> {
    let is_mailed = mail.is_some();
    let change = Change::new(Action::AdministratorInvite, of.id.as_str());
    let after =
        serde_json::json!({ "kind": link.kind.word(), "expires": rfc3339(link.expires_at_ms), "mailed": is_mailed });
    administrators::concerning(common, &[&of.roles], change.after(after)).put_link(link, mail).await?;
    tracing::info!(administrator.id = %of.id, kind = link.kind.word(), is_mailed, "a link was made for administrator {}", of.id);
    if is_mailed {
        common.signals.push(Work::Mails);
    }
    Ok(())
}

/// A link to the console of this place, or to one where the person has a role.
fn new(common: &Common, of: &Administrator, kind: LinkKind, place: Option<&Place>) -> Result<(Link, Made)> {
    if of.is_of_provider && kind == LinkKind::Password {
        return Err(Error::invalid(
            "email",
            "is of somebody who signs in at the provider (oidc.issuer): no password of theirs counts",
        ));
    }
    let root = &common.settings.server.root_url;
    let in_installation = place.map_or(of.may_enter(&Place::Installation), |place| *place == Place::Installation);
    let partner = match place {
        Some(Place::Partner(partner)) => Some(partner),
        _ => of.roles.iter().find_map(|role| role.partner.as_ref()).filter(|_| !in_installation),
    };
    let (base, door) = match partner {
        Some(partner) => (common.settings.url_of(partner.as_str()), "depo"),
        None if in_installation => (root.clone(), "meta_depo"),
        None => return Err(Error::invalid("roles", "are none: without a role there is nowhere to sign in")),
    };
    let token = keys::text(PREFIX, of.id.as_str());
    let now = common.clock.now_ms();
    let link = Link {
        administrator: of.id.clone(),
        kind,
        secret_hash: hex::encode(keys::hash(&token)),
        created_at_ms: now,
        expires_at_ms: now + common.settings.administrators.link.as_millis() as Millis,
    };
    let url = format!("{}/{door}/{}?token={token}", base.trim_end_matches('/'), path(kind));
    let expires_at_ms = link.expires_at_ms;
    Ok((link, Made { url, expires_at_ms }))
}

/// Where links of a kind lead, below the door of a console.
fn path(kind: LinkKind) -> &'static str {
    match kind {
        LinkKind::Password => "set-password",
        LinkKind::Session => "enter",
    }
}

/// The link with this token and whose it is, if it is good for this place now.
pub async fn find(
    common: &Common,
    token: &str,
    kind: LinkKind,
    place: &Place,
) -> Result<Option<(Link, Administrator)>> {
    let Some(id) = keys::id_of(PREFIX, token).and_then(|id| id.parse::<AdministratorId>().ok()) else {
        return Ok(None);
    };
    let Some(link) = common.store.link(&id, kind).await? else { return Ok(None) };
    let Ok(stored) = <[u8; 32] as hex::FromHex>::from_hex(&link.secret_hash) else { return Ok(None) };
    if !keys::is_text(token, &stored) || link.expires_at_ms <= common.clock.now_ms() {
        return Ok(None);
    }
    let is_good =
        |found: &Administrator| found.may_enter(place) && !(found.is_of_provider && kind == LinkKind::Password);
    let found = common.store.administrator(&id).await?.filter(is_good);
    Ok(found.map(|found| (link, found)))
}

/// Sets the password of whose the link is. All their sessions end, and the link is used up.
pub async fn set_password(administration: &Administration, token: &str, place: &Place, password: String) -> Result<()> {
    check_password(&password).map_err(|why| Error::invalid("password", why))?;
    let (link, mut administrator) =
        find(administration, token, LinkKind::Password, place).await?.ok_or(Error::NoLink)?;
    administrator.password_hash = administrators::hash(administration, password).await?;
    administrator.password_at_ms = administration.clock.now_ms();
    administrator.updated_at_ms = administrator.password_at_ms;
    let store = administrators::own(administration, &administrator, Action::AdministratorSetPassword);
    let used = store.set_password_by_link(&link, &administrator).await;
    used.map_err(|err| match err {
        larder_store::Error::NotFound { .. } => Error::NoLink,
        err => err.into(),
    })?;
    administrators::forget_failures(administration, &administrator).await?;
    tracing::info!(administrator.id = %administrator.id, "administrator {} has set a password by a link", administrator.id);
    Ok(())
}

/// Begins a session for whose the link is, if the client is on this machine.
pub async fn sign_in(
    common: &Common,
    token: &str,
    place: &Place,
    address: IpAddr,
    agent: &str,
) -> Result<(SignedIn, String)> {
    let found = find(common, token, LinkKind::Session, place).await?;
    let (_, administrator) = found.filter(|_| address.to_canonical().is_loopback()).ok_or(Error::NoLink)?;
    administrators::begin_session(common, administrator, Some(place), address, agent).await
}
