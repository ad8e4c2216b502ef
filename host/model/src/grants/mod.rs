//! What a function may reach, each with its bounds. Nothing is ambient: what is not granted answers with a refusal.
//!
//! The JSON form is what the API speaks and what is stored. Amounts are decimal text in major units, checked against
//! the currency's exponent by whoever takes grants in.

pub mod check;
mod difference;
mod history;
pub mod leads;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::amount::parse_amount;
use crate::outcome::Effect;

pub use difference::{Difference, covers};
pub use history::{GrantChange, GrantChangeKind};
pub use leads::Leads;

/// The default reaches nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Grants {
    /// Outgoing HTTP; a request needs one grant that covers all of it.
    pub http: Vec<HttpGrant>,
    /// Named outside services, called as `http://NAME.upstream/path`.
    pub upstreams: BTreeSet<String>,
    /// Values that outlive a run.
    pub state: bool,
    /// Creating transactions, by ISO 4217 currency.
    pub transactions: BTreeMap<String, TransactionGrant>,
    /// Types of events that it may emit: dotted words, `*` for any one word.
    pub events: BTreeSet<String>,
    /// Secret variables that stand in its environment.
    pub secrets: BTreeSet<String>,
    /// What the names of upstreams and secrets led to when they were granted, in the host's words.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub leads: BTreeMap<String, String>,
    /// Upstreams that lead elsewhere by now, and are not granted before somebody says yes again.
    #[serde(skip)]
    pub moved: BTreeSet<String>,
}

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
    /// up to is for whoever knows what was saved before. `exponent` is that of a currency, `None` for one that is none.
    pub fn allow(&self, effect: &Effect, exponent: impl Fn(&str) -> Option<u32>) -> Result<(), String> {
        match effect {
            Effect::SetState { .. } | Effect::DeleteState { .. } | Effect::IncrementState { .. } => self.allow_state(),
            Effect::Transaction { amount_minor, currency, .. } => {
                self.allow_transaction(currency, exponent(currency).unwrap_or(0), *amount_minor)
            }
            Effect::Emit(event) => self.allow_event(&event.kind),
        }
    }

    pub fn allow_state(&self) -> Result<(), String> {
        if self.state {
            return Ok(());
        }
        Err("state is not granted to this function; larder.toml, [grants]: state = true".into())
    }

    pub fn allow_transaction(&self, currency: &str, exponent: u32, minor: i64) -> Result<(), String> {
        let Some(grant) = self.transactions.get(currency) else {
            return Err(format!(
                "transactions in {currency} are not granted to this function; larder.toml, [grants]: \
                 transactions.{currency} = {{ max = \"..\", sum = \"..\", period = \"day\" }}"
            ));
        };
        // Whoever took it in has checked it; one that cannot be read grants nothing.
        match parse_amount(&grant.max, exponent, currency) {
            Ok((_, max)) if minor <= max => Ok(()),
            _ => Err(format!(
                "the grant transactions.{currency} is for up to {} {currency} each (larder.toml, [grants]: \
                 transactions.{currency}.max)",
                grant.max
            )),
        }
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

/// Transactions in one currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TransactionGrant {
    /// The largest single amount: `500.00`.
    pub max: String,
    /// What the function may save for one end user within `period`.
    pub sum: String,
    pub period: Period,
}

/// Back from the moment at which a transaction is booked: a rolling window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// 24 hours.
    Day,
    /// 7 days.
    Week,
    /// 30 days.
    Month,
}

impl Period {
    pub const fn days(self) -> u32 {
        match self {
            Period::Day => 1,
            Period::Week => 7,
            Period::Month => 30,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(grants.allow_transaction("SEK", 2, 50_000), Ok(()));
        assert!(grants.allow_transaction("SEK", 2, 50_001).unwrap_err().contains("transactions.SEK.max"));
        assert!(grants.allow_transaction("EUR", 2, 1).unwrap_err().contains("transactions.EUR = {"));
        let broken = TransactionGrant { max: "-5".into(), sum: "x".into(), period: Period::Day };
        let grants = Grants { transactions: [("SEK".into(), broken)].into(), ..Grants::default() };
        assert!(grants.allow_transaction("SEK", 2, 1).is_err());
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
            amount: "1.00".into(),
            amount_minor: 100,
            currency: "SEK".into(),
            memo: None,
        };
        let state: fn(&mut Grants) = |grants| grants.state = true;
        [
            (Effect::SetState { key: "k".into(), value: bytes::Bytes::new() }, state),
            (Effect::DeleteState { key: "k".into() }, state),
            (Effect::IncrementState { key: "k".into(), by: 1 }, state),
            (Effect::Emit(event), |grants| grants.events = ["goal.*".into()].into()),
            (save, |grants| {
                let grant = TransactionGrant { max: "1.00".into(), sum: "5.00".into(), period: Period::Day };
                grants.transactions.insert("SEK".into(), grant);
            }),
        ]
    }

    #[test]
    fn every_effect_needs_its_own_grant() {
        let exponent = |currency: &str| (currency == "SEK").then_some(2);
        for (at, (effect, _)) in effects().iter().enumerate() {
            for (by, (_, grant)) in effects().iter().enumerate() {
                let mut grants = Grants::default();
                assert!(grants.allow(effect, exponent).is_err(), "{effect:?}");
                grant(&mut grants);
                let same = at == by || (at < 3 && by < 3);
                assert_eq!(grants.allow(effect, exponent).is_ok(), same, "{effect:?} by {grants:?}");
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
