//! People who sign in: the administrators of partners and the operators of the installation.
//!
//! * [`create`], [`update`], [`delete`]: the operator's, who vouches for addresses.
//! * [`sign_in`] begins a session, [`find_session`] knows its token again, [`sign_out`] ends it.
//! * [`crate::administrator_links`] has the links with which people set passwords, [`crate::second_factors`] what signing in may
//!   need beside the password.
//!
//! The token is `session_<session>_<64 hex digits>_<8 hex digits>`, made like other keys ([`crate::keys`]); only its SHA-256 is
//! stored. A session ends when it was not used for `administrators.session_idle`, and after `administrators.session_max` at the
//! latest.
//!
//! The rule: **an answer does not tell whether an address has an account**. Each attempt takes the same steps, with a password
//! that nobody has where there is no account, and is counted as failed before it is made.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use larder_model::administrators::{Administrator, Place, Role, RoleIn, Session, check_email, check_password};
use larder_model::audit::Action;
use larder_model::ids::{AdministratorId, PartnerId, SessionId};
use larder_model::time::Millis;
use larder_secrets::{Secrets, passwords};
use larder_store::{AttemptKey, Store};
use tokio::sync::Semaphore;

use crate::audit::{self, Change, fields};
use crate::common::{Common, Owner, context};
use crate::error::{Error, Result};
use crate::{keys, second_factors};

const PREFIX: &str = "session_";
pub(crate) const ADMINISTRATORS_MAX: u64 = 1_000;
const ROLES_MAX: usize = 100;
/// Of one administrator; the oldest end.
const SESSIONS_MAX: u32 = 50;
const AGENT_CHARS_MAX: usize = 255;
/// Attempts that wait for their turn to be hashed; further ones are refused.
const WAITING_MAX: usize = 64;
/// The end of a session is moved on in steps of this part of its idle time.
const IDLE_STEPS: Millis = 20;
/// Failures before the first delay: many people may share an address.
const FREE_PER_ACCOUNT: u32 = 5;
const FREE_PER_ADDRESS: u32 = 20;
/// Shorter for an account, so that nobody can be kept out for long.
const ACCOUNT_DELAY_MAX_MS: Millis = 60_000;
const ADDRESS_DELAY_MAX_MS: Millis = 15 * 60_000;

context! {
    /// The context of signing in.
    Administration {
        passwords: Passwords,
        secrets: Secrets,
    }
}

/// Hashes few passwords at once: each takes 19 MiB and a core.
#[derive(Clone)]
pub struct Passwords(Arc<Hashing>);

struct Hashing {
    turns: Semaphore,
    waiting: Semaphore,
}

impl Passwords {
    pub fn new(at_once: usize) -> Passwords {
        Passwords(Arc::new(Hashing { turns: Semaphore::new(at_once), waiting: Semaphore::new(WAITING_MAX) }))
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let _waiting = self.0.waiting.try_acquire().map_err(|_| Error::TooManySignIns { retry_after_s: 1 })?;
        let _turn = self.0.turns.acquire().await.expect("never closed");
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|err| Error::Unhashed(err.to_string()))
    }

    async fn hash(&self, password: String) -> Result<String> {
        self.work(move || passwords::hash(&password)).await
    }

    /// Is this the password? Without a hash it takes as long, and is not.
    async fn is(&self, password: String, hashed: Option<String>) -> Result<bool> {
        static NOBODYS: OnceLock<String> = OnceLock::new();
        metrics::counter!("larder_password_checks_total").increment(1);
        self.work(move || {
            let nobodys = NOBODYS.get_or_init(|| passwords::hash("nobody has this password"));
            let is = passwords::is(&password, hashed.as_deref().unwrap_or(nobodys));
            is && hashed.is_some()
        })
        .await
    }
}

/// What a new administrator is given.
pub struct NewAdministrator {
    pub email: String,
    pub name: String,
    /// `None`: they set one by a link.
    pub password: Option<String>,
    pub roles: Vec<RoleIn>,
}

/// What changes of an administrator.
#[derive(Default)]
pub struct AdministratorChange {
    pub email: Option<String>,
    pub name: Option<String>,
    pub password: Option<String>,
    pub roles: Option<Vec<RoleIn>>,
    /// Takes the second factor away: somebody has lost theirs.
    pub no_second_factor: bool,
}

/// Creates an administrator whose address the operator vouches for.
pub async fn create(administration: &Administration, new: NewAdministrator) -> Result<Administrator> {
    let has = administration.store.administrators().await?.len() as u64;
    if has >= ADMINISTRATORS_MAX {
        return Err(Error::TooMany { of: "installation", most: ADMINISTRATORS_MAX, what: "administrators" });
    }
    let email = check_email(&new.email).map_err(|why| Error::invalid("email", why))?;
    check_listed(administration, &email)?;
    check_roles(&new.roles)?;
    let password_hash = match new.password {
        Some(password) => hash(administration, password).await?,
        None => String::new(),
    };
    let now = administration.clock.now_ms();
    let administrator = Administrator {
        id: AdministratorId::generate(&administration.clock),
        email,
        name: new.name,
        password_hash,
        email_verified_at_ms: Some(now),
        second_factor: false,
        is_of_provider: false,
        roles: new.roles,
        password_at_ms: now,
        created_at_ms: now,
        updated_at_ms: now,
    };
    let change = Change::new(Action::AdministratorCreate, administrator.id.as_str());
    let store =
        concerning(administration, &[&administrator.roles], change.after(fields::administrator(&administrator)));
    store.insert_administrator(&administrator).await.map_err(refused)?;
    tracing::info!(administrator.id = %administrator.id, "the operator created administrator {}", administrator.id);
    Ok(administrator)
}

/// Changes an administrator. A new password, or taking the second factor away, ends all sessions. A new password also lets the
/// account sign in at once, whatever failed before.
pub async fn update(
    administration: &Administration,
    administrator: &mut Administrator,
    change: AdministratorChange,
) -> Result<()> {
    let (now, old) = (administration.clock.now_ms(), administrator.clone());
    if let Some(email) = change.email {
        administrator.email = check_email(&email).map_err(|why| Error::invalid("email", why))?;
        check_listed(administration, &administrator.email)?;
        administrator.email_verified_at_ms = Some(now);
    }
    administrator.name = change.name.unwrap_or_else(|| administrator.name.clone());
    if let Some(roles) = change.roles {
        check_roles(&roles)?;
        administrator.roles = roles;
    }
    let renewed = change.password.is_some();
    if let Some(password) = change.password {
        administrator.password_hash = hash(administration, password).await?;
        administrator.password_at_ms = now;
    }
    administrator.updated_at_ms = now;
    let told = Change::new(Action::AdministratorUpdate, old.id.as_str());
    let after = Administrator {
        second_factor: administrator.second_factor && !change.no_second_factor,
        ..administrator.clone()
    };
    let told = told.from_to(fields::administrator(&old), fields::administrator(&after));
    let store = concerning(administration, &[&old.roles, &administrator.roles], told);
    store.update_administrator(administrator, None).await.map_err(refused)?;
    if renewed {
        forget_failures(administration, administrator).await?;
    }
    if change.no_second_factor {
        administration.store.delete_second_factor(&administrator.id, now).await?;
        administrator.second_factor = false;
    }
    tracing::info!(administrator.id = %administrator.id, "the operator changed administrator {}", administrator.id);
    Ok(())
}

/// Lets an account sign in at once, whatever failed before.
pub(crate) async fn forget_failures(common: &Common, administrator: &Administrator) -> Result<()> {
    let account = account_key(&administrator.email);
    Ok(common.store.end_attempt(&account, &account).await?)
}

pub async fn delete(common: &Common, id: &AdministratorId) -> Result<()> {
    let old = common.store.administrator(id).await?;
    let change = Change::new(Action::AdministratorDelete, id.as_str());
    let change = change.before(old.as_ref().map(fields::administrator).unwrap_or_default());
    let roles = old.map(|old| old.roles).unwrap_or_default();
    concerning(common, &[&roles], change).delete_administrator(id).await?;
    tracing::info!(administrator.id = %id, "the operator deleted administrator {id}");
    Ok(())
}

/// The installation's change of an administrator, which concerns the partners of these roles.
pub(crate) fn concerning(common: &Common, roles: &[&[RoleIn]], change: Change<'_>) -> Store {
    let partners: BTreeSet<&PartnerId> =
        roles.iter().flat_map(|roles| roles.iter()).filter_map(|role| role.partner.as_ref()).collect();
    audit::of_installation(common, partners, change)
}

/// What somebody does with their own sign-in.
pub(crate) fn own(common: &Common, administrator: &Administrator, action: Action) -> Store {
    audit::of(common, None, Change::new(action, administrator.id.as_str()))
}

fn refused(err: larder_store::Error) -> Error {
    match err {
        larder_store::Error::NotFound { what: "partner" } => {
            Error::invalid("roles", "names a partner that does not exist")
        }
        err => Error::AdministratorExists.on_conflict()(err),
    }
}

/// May somebody with this address have an account, as the operator's settings say?
pub(crate) fn is_listed(common: &Common, email: &str) -> bool {
    let listed = &common.settings.administrators.emails;
    let is = |one: &String| {
        one.eq_ignore_ascii_case(email) || (one.starts_with('@') && email.ends_with(&one.to_ascii_lowercase()))
    };
    listed.is_empty() || listed.iter().any(is)
}

fn check_listed(common: &Common, email: &str) -> Result<()> {
    match is_listed(common, email) {
        true => Ok(()),
        false => Err(Error::invalid("email", "is none of those that may have an account (administrators.emails)")),
    }
}

/// Do people sign in from this address?
pub(crate) fn is_from_here(common: &Common, address: IpAddr) -> bool {
    let networks = &common.settings.administrators.networks;
    networks.is_empty() || networks.iter().any(|network| network.contains(&address.to_canonical()))
}

fn check_roles(roles: &[RoleIn]) -> Result<()> {
    if roles.len() > ROLES_MAX {
        return Err(Error::invalid("roles", format!("may have at most {ROLES_MAX} entries")));
    }
    for (at, role) in roles.iter().enumerate() {
        if !role.role.is_of(&role.place()) {
            let why = "viewer, developer, approver and administrator are roles in a partner (`partnerId`), operator and viewer are \
                       in the installation";
            return Err(Error::invalid("roles", why));
        }
        if roles[..at].iter().any(|other| other.partner == role.partner) {
            return Err(Error::invalid("roles", "names the same place twice"));
        }
    }
    Ok(())
}

pub(crate) async fn hash(administration: &Administration, password: String) -> Result<String> {
    check_password(&password).map_err(|why| Error::invalid("password", why))?;
    administration.passwords.hash(password).await
}

/// A session with its administrator.
pub struct SignedIn {
    pub administrator: Administrator,
    pub session: Session,
}

/// An attempt to sign in.
pub struct Attempt {
    pub email: String,
    pub password: String,
    pub address: IpAddr,
    pub agent: String,
    /// The token of a session that the client has already: it ends.
    pub replaces: Option<String>,
    /// Of the second factor, or a recovery code. `None`: the client does not ask for it.
    pub code: Option<String>,
    /// Where a role is needed; `None`: nowhere.
    pub place: Option<Place>,
}

/// Begins a session; returns its token too.
pub async fn sign_in(administration: &Administration, attempt: Attempt) -> Result<(SignedIn, String)> {
    let email = check_email(&attempt.email).unwrap_or_else(|_| attempt.email.trim().to_ascii_lowercase());
    let (account, address) = begin_attempt(administration, &email, attempt.address).await?;
    let place = attempt.place.as_ref();
    let (id, hashed) = administration.store.password_of_email(&email).await?.unzip();
    let hashed = hashed.filter(|hashed| !hashed.is_empty());
    let is = administration.passwords.is(attempt.password, hashed).await?;
    let is_from_here = is_from_here(administration, attempt.address);
    let found = match id.as_ref().filter(|_| is && is_from_here) {
        Some(id) => administration.store.administrator(id).await?,
        None => None,
    };
    let may_enter = |found: &Administrator| place.is_none_or(|place| found.may_enter(place));
    let may_sign_in = |found: &Administrator| {
        found.email_verified_at_ms.is_some() && !found.is_of_provider && is_listed(administration, &found.email)
    };
    let found = found.filter(|found| may_sign_in(found) && may_enter(found));
    let Some(administrator) = found else {
        return Err(refused_sign_in(administration, place, id.as_ref(), attempt.address).await?);
    };
    if administrator.second_factor {
        let code = attempt.code.ok_or(Error::MoreFactors)?;
        if !second_factors::is(administration, &administrator.id, &code).await? {
            return Err(refused_sign_in(administration, place, id.as_ref(), attempt.address).await?);
        }
    }
    administration.store.end_attempt(&account, &address).await?;
    if let Some(old) = attempt.replaces
        && let Some(old) = find_session(administration, &old).await?
    {
        let _ = administration.store.delete_session(&old.session.id, &old.administrator.id).await;
    }
    begin_session(administration, administrator, place, attempt.address, &attempt.agent).await
}

/// Counts an attempt under an account and an address. One that succeeds is ended (`end_attempt`).
pub(crate) async fn begin_attempt(common: &Common, email: &str, address: IpAddr) -> Result<(AttemptKey, AttemptKey)> {
    let (account, address) = (account_key(email), address_key(address));
    count_attempt(common, &[account.clone(), address.clone()]).await?;
    Ok((account, address))
}

/// The same under an address alone, where the account is not known yet. One that succeeds is ended with the key twice.
pub(crate) async fn begin_attempt_from(common: &Common, address: IpAddr) -> Result<AttemptKey> {
    let address = address_key(address);
    count_attempt(common, std::slice::from_ref(&address)).await?;
    Ok(address)
}

async fn count_attempt(common: &Common, keys: &[AttemptKey]) -> Result<()> {
    let now = common.clock.now_ms();
    let until = common.store.begin_attempt(keys, now).await?;
    if until > 0 {
        metrics::counter!("larder_sign_ins_total", "end" => "delayed").increment(1);
        return Err(Error::TooManySignIns { retry_after_s: ((until - now) as u64).div_ceil(1_000) as u32 });
    }
    Ok(())
}

/// The record is the same whether there is such an account or not; only its subject tells.
async fn refused_sign_in(
    common: &Common,
    place: Option<&Place>,
    account: Option<&AdministratorId>,
    address: IpAddr,
) -> Result<Error> {
    let subject = account.map_or("", AdministratorId::as_str);
    audit::record(common, records_of(place), Change::new(Action::SessionSignInFailed, subject)).await?;
    metrics::counter!("larder_sign_ins_total", "end" => "refused").increment(1);
    tracing::warn!(client.address = %address, "an attempt to sign in was refused");
    Ok(Error::InvalidCredentials)
}

/// Who reads of it: the partner at whose console it was.
pub(crate) fn records_of(place: Option<&Place>) -> Owner {
    match place {
        Some(Place::Partner(partner)) => Some(partner.clone()),
        Some(Place::Installation) | None => None,
    }
}

/// Begins a session of somebody who has proved who they are.
pub(crate) async fn begin_session(
    common: &Common,
    administrator: Administrator,
    place: Option<&Place>,
    address: IpAddr,
    agent: &str,
) -> Result<(SignedIn, String)> {
    let (session, token) = new_session(common, &administrator, &address.to_string(), agent);
    audit::by(audit::person(&administrator));
    let change = Change::new(Action::SessionSignIn, session.id.as_str());
    audit::of(common, records_of(place), change).insert_session(&session, SESSIONS_MAX).await?;
    metrics::counter!("larder_sign_ins_total", "end" => "done").increment(1);
    tracing::info!(administrator.id = %administrator.id, session.id = %session.id, "administrator {} signed in", administrator.id);
    Ok((SignedIn { administrator, session }, token))
}

/// Asks somebody who has signed in for their password again, before a change of how they sign in.
pub(crate) async fn ask_again(
    administration: &Administration,
    by: &SignedIn,
    password: String,
    address: IpAddr,
) -> Result<()> {
    let (account, address) = begin_attempt(administration, &by.administrator.email, address).await?;
    let hashed = Some(by.administrator.password_hash.clone()).filter(|hashed| !hashed.is_empty());
    if !administration.passwords.is(password, hashed).await? {
        return Err(Error::InvalidCredentials);
    }
    Ok(administration.store.end_attempt(&account, &address).await?)
}

fn new_session(common: &Common, of: &Administrator, address: &str, agent: &str) -> (Session, String) {
    let id = SessionId::generate(&common.clock);
    let token = keys::text(PREFIX, id.as_str());
    let settings = &common.settings.administrators;
    let now = common.clock.now_ms();
    let expires_at_ms = now + settings.session_max.as_millis() as Millis;
    let session = Session {
        id,
        administrator: of.id.clone(),
        secret_hash: hex::encode(keys::hash(&token)),
        address: address.to_owned(),
        agent: agent.chars().filter(|c| !c.is_control()).take(AGENT_CHARS_MAX).collect(),
        created_at_ms: now,
        updated_at_ms: now,
        ends_at_ms: expires_at_ms.min(now + settings.session_idle.as_millis() as Millis),
        expires_at_ms,
    };
    (session, token)
}

/// The session with this token, unless it has ended. This is a use of it.
pub async fn find_session(common: &Common, token: &str) -> Result<Option<SignedIn>> {
    let Some(SignedIn { administrator, mut session }) = look_up_session(common, token).await? else { return Ok(None) };
    let now = common.clock.now_ms();
    let idle = common.settings.administrators.session_idle.as_millis() as Millis;
    let ends_at_ms = session.expires_at_ms.min(now + idle);
    if ends_at_ms - session.ends_at_ms >= idle / IDLE_STEPS {
        (session.ends_at_ms, session.updated_at_ms) = (ends_at_ms, now);
        common.store.update_session(&session).await?;
    }
    Ok(Some(SignedIn { administrator, session }))
}

/// The same where nobody has done anything: a session that is only looked up ends as if it had not been.
pub async fn look_up_session(common: &Common, token: &str) -> Result<Option<SignedIn>> {
    let Some(id) = keys::id_of(PREFIX, token).and_then(|id| id.parse::<SessionId>().ok()) else { return Ok(None) };
    let Some(session) = common.store.session(&id).await? else { return Ok(None) };
    let now = common.clock.now_ms();
    let stored: [u8; 32] = match hex::FromHex::from_hex(&session.secret_hash) {
        Ok(stored) => stored,
        Err(_) => return Ok(None),
    };
    if !keys::is_text(token, &stored) || session.ends_at_ms <= now {
        return Ok(None);
    }
    let administrator = common.store.administrator(&session.administrator).await?;
    Ok(administrator.map(|administrator| SignedIn { administrator, session }))
}

/// Replaces the own password. The other sessions end, and this one has the returned token from now on.
pub async fn change_password(
    administration: &Administration,
    by: &mut SignedIn,
    old: String,
    new: String,
    address: IpAddr,
) -> Result<String> {
    check_password(&new).map_err(|why| Error::invalid("password", why))?;
    ask_again(administration, by, old, address).await?;
    let now = administration.clock.now_ms();
    by.administrator.password_hash = administration.passwords.hash(new).await?;
    (by.administrator.password_at_ms, by.administrator.updated_at_ms) = (now, now);
    let store = own(administration, &by.administrator, Action::AdministratorSetPassword);
    store.update_administrator(&by.administrator, Some(by.session.id.as_str())).await?;
    let token = keys::text(PREFIX, by.session.id.as_str());
    by.session.secret_hash = hex::encode(keys::hash(&token));
    by.session.updated_at_ms = now;
    administration.store.update_session(&by.session).await?;
    Ok(token)
}

/// Ends one of somebody's own sessions.
pub async fn sign_out(common: &Common, by: &SignedIn, id: &SessionId) -> Result<()> {
    let change = Change::new(Action::SessionEnd, id.as_str());
    Ok(audit::of(common, None, change).delete_session(id, &by.administrator.id).await?)
}

/// Ends all of somebody's own sessions but this one.
pub async fn end_others(common: &Common, by: &SignedIn) -> Result<()> {
    let store = own(common, &by.administrator, Action::SessionEndOthers);
    Ok(store.delete_other_sessions(&by.administrator.id, &by.session.id).await?)
}

/// Ends all of somebody's own sessions.
pub async fn sign_out_everywhere(common: &Common, by: &SignedIn) -> Result<()> {
    let store = own(common, &by.administrator, Action::SessionEndOthers);
    Ok(store.delete_sessions(&by.administrator.id).await?)
}

/// Makes an administrator of a partner that was just made.
pub async fn join(common: &Common, administrator: &mut Administrator, partner: &PartnerId) -> Result<()> {
    let before = fields::administrator(administrator);
    administrator.roles.push(RoleIn { partner: Some(partner.clone()), role: Role::Administrator });
    administrator.updated_at_ms = common.clock.now_ms();
    let change = Change::new(Action::AdministratorUpdate, administrator.id.as_str());
    let change = change.from_to(before, fields::administrator(administrator));
    let store = audit::of_installation(common, [partner], change);
    Ok(store.update_administrator(administrator, None).await?)
}

/// Counts that somebody has asked for a letter to this address, whoever has it.
pub async fn count_reset(common: &Common, email: &str, address: IpAddr) -> Result<()> {
    let asked = attempt_key("reset", email, FREE_PER_ACCOUNT, ADDRESS_DELAY_MAX_MS);
    count_attempt(common, &[asked, address_key(address)]).await
}

fn account_key(email: &str) -> AttemptKey {
    attempt_key("account", email, FREE_PER_ACCOUNT, ACCOUNT_DELAY_MAX_MS)
}

/// IPv6 by its /64 network, which is one client's.
fn address_key(address: IpAddr) -> AttemptKey {
    let network = match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("{:x?}", &address.segments()[..4]),
    };
    attempt_key("address", &network, FREE_PER_ADDRESS, ADDRESS_DELAY_MAX_MS)
}

fn attempt_key(kind: &str, of: &str, free: u32, delay_max_ms: Millis) -> AttemptKey {
    AttemptKey { id: hex::encode(keys::hash(&format!("{kind} {of}"))), free, delay_max_ms }
}
