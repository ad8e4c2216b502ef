//! What a function may reach, each with its bounds. Nothing is ambient: what is not granted answers with a refusal.
//!
//! The JSON form is what the API speaks and what is stored. Amounts in it are decimal text in major units.

pub mod check;
mod difference;
mod history;
pub mod leads;
mod transactions;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::amount::Amount;
use crate::outcome::Effect;

pub use difference::{Difference, covers};
pub use history::{GrantChange, GrantChangeKind};
pub use leads::Leads;
pub use transactions::{Period, TransactionGrant, TransactionGrants, UncheckedTransactionGrant};

/// The default reaches nothing. `T` is the form of the transactions, which [`UncheckedGrants`] have as text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Grants<T = TransactionGrants> {
    /// Outgoing HTTP; a request needs one grant that covers all of it.
    pub http: Vec<HttpGrant>,
    /// Named outside services, called as `http://NAME.upstream/path`.
    pub upstreams: BTreeSet<String>,
    /// Values that outlive a run.
    pub state: bool,
    /// Creating transactions, by ISO 4217 currency.
    pub transactions: T,
    /// Types of events that it may emit: dotted words, `*` for any one word.
    pub events: BTreeSet<String>,
    /// Secret variables that stand in its environment.
    pub secrets: BTreeSet<String>,
    /// Scopes that a run may use the API by, of those that the function has.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub api: BTreeSet<String>,
    /// What the names of upstreams and secrets led to when they were granted, in the host's words.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub leads: BTreeMap<String, String>,
    /// Upstreams that lead elsewhere by now, and are not granted before somebody says yes again.
    #[serde(skip)]
    pub moved: BTreeSet<String>,
}

/// Grants as somebody sends them: [`check::check`] says what is wrong with them.
pub type UncheckedGrants = Grants<BTreeMap<String, UncheckedTransactionGrant>>;

impl Grants {
    /// May this upstream be called, and signed for? A no says what to add.
    pub fn allow_upstream(&self, name: &str) -> Result<(), String> {
        if self.upstreams.contains(name) {
            return Ok(());
        }
        if self.moved.contains(name) {
            return Err(Grants::leads_elsewhere(name));
        }
        let all: Vec<&str> = self.upstreams.iter().map(String::as_str).chain([name]).collect();
        Err(format!(
            "the upstream {name:?} is not granted to this function; larder.toml, [grants]: upstreams = {all:?}"
        ))
    }

    /// Why a name is not granted that was.
    pub fn leads_elsewhere(name: &str) -> String {
        format!(
            "the upstream {name:?} leads elsewhere than was approved for this function; a key with the scope grants.write \
             can approve it: larder grants show, larder grants set"
        )
    }

    /// Does what is granted cover this effect? If not, the text names what is missing. What an end user's transactions sum
    /// up to is for whoever knows what was saved before.
    pub fn allow(&self, effect: &Effect) -> Result<(), String> {
        match effect {
            Effect::SetState { .. } | Effect::DeleteState { .. } | Effect::IncrementState { .. } => self.allow_state(),
            Effect::Transaction { amount, .. } => self.allow_transaction(*amount).map(drop),
            Effect::Emit(event) => self.allow_event(&event.kind),
        }
    }

    pub fn allow_state(&self) -> Result<(), String> {
        if self.state {
            return Ok(());
        }
        Err("state is not granted to this function; larder.toml, [grants]: state = true".into())
    }

    /// Gives the grant that covers this single amount.
    pub fn allow_transaction(&self, amount: Amount) -> Result<&TransactionGrant, String> {
        let currency = amount.currency();
        let Some(grant) = self.transactions.get(currency) else {
            return Err(format!(
                "transactions in {currency} are not granted to this function; larder.toml, [grants]: \
                 transactions.{currency} = {{ max = \"..\", sum = \"..\", period = \"day\" }}"
            ));
        };
        if amount <= grant.max() {
            return Ok(grant);
        }
        Err(format!(
            "the grant transactions.{currency} is for up to {} {currency} each (larder.toml, [grants]: \
             transactions.{currency}.max)",
            grant.max()
        ))
    }

    pub fn allow_event(&self, kind: &str) -> Result<(), String> {
        if let Some(why) = reserved_type(kind) {
            return Err(format!("events of type {kind:?} cannot be emitted: the type {why}"));
        }
        if kind.split('.').any(|word| word == "*") {
            return Err(format!("events of type {kind:?} cannot be emitted: the word * is reserved for patterns"));
        }
        if self.events.iter().any(|pattern| covers_type(pattern, kind)) {
            return Ok(());
        }
        Err(format!(
            "events of type {kind:?} are not granted to this function; larder.toml, [grants]: events = [\"{kind}\"]"
        ))
    }
}

/// Why a type, or a pattern over types, is not a function's or an outside sender's to use.
pub fn reserved_type(kind: &str) -> Option<&'static str> {
    let first = kind.split('.').next().unwrap_or_default();
    first.eq_ignore_ascii_case("larder").then_some("is reserved: its first word is larder")
}

/// Does a pattern of dotted words (`card.*`, `*` for any one word) cover this type, or this pattern?
pub fn covers_type(pattern: &str, kind: &str) -> bool {
    let (mut pattern, mut kind) = (pattern.split('.'), kind.split('.'));
    loop {
        match (pattern.next(), kind.next()) {
            (None, None) => return true,
            (Some(wanted), Some(word)) if wanted == "*" || wanted == word => {}
            _ => return false,
        }
    }
}

/// Requests to some hosts, with what one execution may spend on them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpGrant {
    #[serde(default)]
    pub scheme: Scheme,
    /// `api.sports.example`, `*.sports.example` for any name below it, either with a port (`:8443`).
    pub hosts: BTreeSet<String>,
    #[serde(default = "HttpGrant::methods")]
    pub methods: BTreeSet<String>,
    /// Prefixes of whole segments.
    #[serde(default = "HttpGrant::paths")]
    pub paths: BTreeSet<String>,
    /// Requests of one execution.
    #[serde(default = "HttpGrant::calls")]
    pub calls: u32,
    /// Bytes of one execution, both bodies of all its requests together.
    #[serde(default = "HttpGrant::bytes")]
    pub bytes: u64,
    /// The private network (CIDR) in which the hosts may lie; without it every address must be public.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

/// Reads, of no host.
impl Default for HttpGrant {
    fn default() -> HttpGrant {
        HttpGrant {
            scheme: Scheme::default(),
            hosts: BTreeSet::new(),
            methods: HttpGrant::methods(),
            paths: HttpGrant::paths(),
            calls: HttpGrant::calls(),
            bytes: HttpGrant::bytes(),
            network: None,
        }
    }
}

impl HttpGrant {
    fn methods() -> BTreeSet<String> {
        ["GET", "HEAD"].map(Into::into).into()
    }

    fn paths() -> BTreeSet<String> {
        ["/".into()].into()
    }

    fn calls() -> u32 {
        10
    }

    fn bytes() -> u64 {
        1 << 20
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    Http,
    #[default]
    Https,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::Currency;

    #[test]
    fn a_star_is_one_word() {
        for (pattern, kind, expected) in [
            ("card.purchase", "card.purchase", true),
            ("card.*", "card.purchase", true),
            ("*.purchase", "card.purchase", true),
            ("card.*", "card", false),
            ("card.*", "card.purchase.refund", false),
            ("*", "card.purchase", false),
            ("card.purchase", "card.Purchase", false),
            // Patterns below a pattern.
            ("card.*", "card.*", true),
            ("*.*", "card.*", true),
            ("card.purchase", "card.*", false),
        ] {
            assert_eq!(covers_type(pattern, kind), expected, "{pattern} {kind}");
        }
    }

    #[test]
    fn a_refusal_names_the_grant() {
        let grants: Grants = serde_json::from_str(
            r#"{"events":["card.*"],"transactions":{"SEK":{"max":"500.00","sum":"1000.00","period":"day"}}}"#,
        )
        .unwrap();
        assert!(grants.allow_state().unwrap_err().ends_with("[grants]: state = true"));
        assert_eq!(grants.allow_event("card.purchase"), Ok(()));
        assert!(grants.allow_event("account.closed").unwrap_err().ends_with(r#"events = ["account.closed"]"#));
        let transaction = |minor_units, code| {
            grants.allow_transaction(Amount::from_minor_units(minor_units, Currency::known(code).unwrap()))
        };
        assert_eq!(transaction(50_000, "SEK").unwrap().sum().to_string(), "1000.00");
        assert_eq!(
            transaction(50_001, "SEK").unwrap_err(),
            "the grant transactions.SEK is for up to 500.00 SEK each (larder.toml, [grants]: transactions.SEK.max)"
        );
        assert!(transaction(1, "EUR").unwrap_err().contains("transactions.EUR = {"));
    }

    #[test]
    fn stored_grants_are_read_and_written_byte_for_byte() {
        for stored in [
            r#"{"http":[],"upstreams":[],"state":false,"transactions":{},"events":[],"secrets":[]}"#,
            r#"{"http":[{"scheme":"https","hosts":["a.example"],"methods":["GET"],"paths":["/v1"],"calls":10,"bytes":1024,"network":"10.0.0.0/8"}],"upstreams":["bank"],"state":true,"transactions":{"EUR":{"max":"0.05","sum":"1.00","period":"month"},"SEK":{"max":"500.00","sum":"1000.50","period":"day"}},"events":["card.*"],"secrets":["TOKEN"],"leads":{"upstream bank":"https://bank.example"}}"#,
        ] {
            let grants: Grants = serde_json::from_str(stored).unwrap();
            assert_eq!(serde_json::to_string(&grants).unwrap(), stored);
        }
        assert_eq!(serde_json::from_str::<Grants>("{}").unwrap(), Grants::default());
    }

    /// An effect, and what takes away its grant.
    type Case = (Effect, fn(&mut Grants));

    fn effects() -> [Case; 5] {
        let event = crate::Event {
            id: "1".into(),
            source: String::new(),
            kind: "goal.scored".into(),
            subject: None,
            time: String::new(),
            data_content_type: "application/json".into(),
            data: bytes::Bytes::new(),
            attributes: BTreeMap::new(),
        };
        let save = Effect::Transaction {
            id: "t-1".into(),
            end_user: None,
            amount: Amount::from_minor_units(100, Currency::known("SEK").unwrap()),
            memo: None,
        };
        let state: fn(&mut Grants) = |grants| grants.state = true;
        [
            (Effect::SetState { key: "k".into(), value: bytes::Bytes::new() }, state),
            (Effect::DeleteState { key: "k".into() }, state),
            (Effect::IncrementState { key: "k".into(), by: 1 }, state),
            (Effect::Emit(event), |grants| grants.events = ["goal.*".into()].into()),
            (save, |grants| {
                let amount = |minor_units| Amount::from_minor_units(minor_units, Currency::known("SEK").unwrap());
                grants.transactions =
                    TransactionGrant::new(amount(100), amount(500), Period::Day).into_iter().collect();
            }),
        ]
    }

    #[test]
    fn every_effect_needs_its_own_grant() {
        for (at, (effect, _)) in effects().iter().enumerate() {
            for (by, (_, grant)) in effects().iter().enumerate() {
                let mut grants = Grants::default();
                assert!(grants.allow(effect).is_err(), "{effect:?}");
                grant(&mut grants);
                let same = at == by || (at < 3 && by < 3);
                assert_eq!(grants.allow(effect).is_ok(), same, "{effect:?} by {grants:?}");
            }
        }
    }

    #[test]
    fn reserved_types_and_patterns_are_not_emitted_even_if_granted() {
        let grants = Grants { events: ["*".into(), "*.*".into()].into(), ..Grants::default() };
        assert_eq!(grants.allow_event("goal.scored"), Ok(()));
        assert_eq!(grants.allow_event("larders.goal"), Ok(()));
        for kind in ["larder.goal", "Larder", "LARDER.x"] {
            assert!(grants.allow_event(kind).unwrap_err().contains("reserved"), "{kind}");
        }
        for kind in ["*", "goal.*"] {
            assert!(grants.allow_event(kind).unwrap_err().contains("patterns"), "{kind}");
        }
    }

    #[test]
    fn an_upstream_is_called_by_its_granted_name_and_while_it_has_not_moved() {
        let mut grants = Grants { upstreams: ["bank".into()].into(), ..Grants::default() };
        assert_eq!(grants.allow_upstream("bank"), Ok(()));
        assert!(grants.allow_upstream("odds").unwrap_err().ends_with(r#"upstreams = ["bank", "odds"]"#));
        grants.moved = std::mem::take(&mut grants.upstreams);
        assert_eq!(grants.allow_upstream("bank"), Err(Grants::leads_elsewhere("bank")));
        assert!(Grants::leads_elsewhere("bank").contains("\"bank\" leads elsewhere"));
    }
}
