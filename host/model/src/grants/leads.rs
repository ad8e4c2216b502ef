//! What the names in grants lead to.
//!
//! A grant names upstreams and secrets, and who says yes to it says yes to where they lead at that moment: to an origin, its
//! networks and its credential, to the value of a secret. [`Grants::leads`] stores that. The rule: **a name that leads
//! elsewhere than was approved is not granted**, until somebody says yes again.
//!
//! * [`Leads`]: where the names of one function lead now. [`Leads::bind`] puts that into grants, [`Leads::effective`] takes
//!   out of grants what leads elsewhere.
//!
//! A name without an entry was granted before entries were stored: it leads wherever it leads, until the first change
//! (`store::grants` then stores where it led).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::{Grants, Upstream, Variable, trigger_key};

/// Where a name leads that is not there.
pub const NOWHERE: &str = "nothing";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leads {
    /// The same for all functions of a partner.
    upstreams: Arc<HashMap<String, String>>,
    secrets: HashMap<String, String>,
}

/// Of a partner's own upstreams and the operator's those that functions call: where both have a name it stays that of the
/// older one, so neither takes the other's place.
pub fn called(all: Vec<Upstream>) -> Vec<Upstream> {
    let mut called: Vec<Upstream> = vec![];
    for upstream in all {
        let since = |upstream: &Upstream| (upstream.created_at_ms, upstream.owner.is_some());
        match called.iter_mut().find(|other| other.name == upstream.name) {
            None => called.push(upstream),
            Some(other) if since(other) > since(&upstream) => *other = upstream,
            Some(_) => {}
        }
    }
    called
}

impl Leads {
    /// `upstreams` are those that are [`called`].
    pub fn new<'a>(upstreams: impl IntoIterator<Item = &'a Upstream>) -> Leads {
        let upstreams = upstreams.into_iter().map(|upstream| (upstream.name.clone(), of_upstream(upstream)));
        Leads { upstreams: Arc::new(upstreams.collect()), secrets: HashMap::new() }
    }

    /// With the variables of one function.
    pub fn of<'a>(&self, variables: impl IntoIterator<Item = &'a Variable>) -> Leads {
        let secrets = variables.into_iter().filter(|variable| variable.secret);
        let secrets = secrets.map(|variable| (variable.name.clone(), of_secret(variable))).collect();
        Leads { upstreams: self.upstreams.clone(), secrets }
    }

    pub fn upstream(&self, name: &str) -> &str {
        self.upstreams.get(name).map_or(NOWHERE, String::as_str)
    }

    pub fn secret(&self, name: &str) -> &str {
        self.secrets.get(name).map_or(NOWHERE, String::as_str)
    }

    /// The same grants with where their names lead now.
    pub fn bind(&self, grants: &Grants) -> Grants {
        with(Grants { leads: BTreeMap::new(), ..grants.clone() }, self)
    }

    /// The same grants, with an entry for each name that has none: where it leads now.
    pub fn complete(&self, grants: &Grants) -> Grants {
        with(grants.clone(), self)
    }

    /// What is asked for, with where its names led when the effective grants were approved; names that are new lead where they do
    /// now.
    pub fn inherit(&self, in_force: &Grants, asked: &Grants) -> Grants {
        with(Grants { leads: in_force.leads.clone(), ..asked.clone() }, self)
    }

    /// Is that what they lead to now?
    pub fn are_of(&self, bound: &Grants) -> bool {
        self.bind(bound) == *bound
    }

    /// The same grants without what leads elsewhere than they say.
    pub fn effective(&self, grants: &Grants) -> Grants {
        let mut effective = grants.clone();
        // What is not there does no harm, and is missed by its name.
        let same =
            |key: String, now: &str| now == NOWHERE || grants.leads.get(&key).is_none_or(|approved| approved == now);
        effective.upstreams.retain(|name| same(upstream_key(name), self.upstream(name)));
        effective.secrets.retain(|name| same(secret_key(name), self.secret(name)));
        effective.moved = grants.upstreams.difference(&effective.upstreams).cloned().collect();
        effective
    }
}

/// `grants`, with an entry for each name that has none: where it leads now.
fn with(mut grants: Grants, leads: &Leads) -> Grants {
    let upstreams = grants.upstreams.iter().map(|name| (upstream_key(name), leads.upstream(name)));
    let secrets = grants.secrets.iter().map(|name| (secret_key(name), leads.secret(name)));
    let all: BTreeMap<String, &str> = upstreams.chain(secrets).collect();
    let kept = |key: &String, now: &str| grants.leads.get(key).cloned().unwrap_or_else(|| now.to_owned());
    grants.leads = all.iter().map(|(key, now)| (key.clone(), kept(key, now))).collect();
    grants
}

pub fn upstream_key(name: &str) -> String {
    format!("upstream {name}")
}

pub fn secret_key(name: &str) -> String {
    format!("secret {name}")
}

/// In words, for the person who says yes to it. A partner does not learn where an operator's upstream leads, only that this changed.
pub fn of_upstream(upstream: &Upstream) -> String {
    let settings = &upstream.settings;
    let networks = match &settings.networks[..] {
        [] => String::new(),
        some => format!(" in {}", some.join(", ")),
    };
    let place = format!("{}{networks}", settings.base());
    let credential = serde_json::to_string(&settings.credential).expect("plain values serialise");
    match &upstream.owner {
        // How it makes itself known to its own services is the operator's business.
        None => format!("the operator's {}", short(&[&place])),
        Some(_) if upstream.sealed.is_none() => place,
        Some(_) => format!("{place} with the credential {}", short(&[&credential, &upstream.secret_revision])),
    }
}

/// A value is identified by the change that set it, which reveals nothing about it.
pub fn of_secret(variable: &Variable) -> String {
    format!("the value {}", short(&[variable.id.as_str(), &variable.revision]))
}

fn short(parts: &[&str]) -> String {
    trigger_key(parts)[..24].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UpstreamSettings;
    use crate::upstreams::CredentialKind;

    fn upstream(owner: Option<&str>, url: &str, revision: &str) -> Upstream {
        let credential = CredentialKind::Basic { user: "larder".into() };
        Upstream {
            owner: owner.map(|id| id.parse().unwrap()),
            name: "bank".into(),
            settings: UpstreamSettings { credential, ..UpstreamSettings::new(url) },
            sealed: Some(vec![]),
            secret_revision: revision.into(),
            created_at_ms: 0,
            updated_at_ms: 0,
        }
    }

    #[test]
    fn what_a_name_leads_to_is_where_and_as_whom_and_nothing_else() {
        let base = upstream(Some("acme"), "https://a.example/v1", "1");
        let changed = |change: &dyn Fn(&mut Upstream)| {
            let mut other = base.clone();
            change(&mut other);
            of_upstream(&other) != of_upstream(&base)
        };
        assert!(changed(&|u| u.settings.url = "https://b.example/v1".into()));
        assert!(changed(&|u| u.settings.url = "http://a.example/v1".into()));
        assert!(changed(&|u| u.settings.url = "https://a.example:8443/v1".into()));
        assert!(changed(&|u| u.settings.url = "https://a.example/v2".into()));
        assert!(changed(&|u| u.settings.networks = vec!["10.0.0.0/8".into()]));
        assert!(changed(&|u| u.secret_revision = "2".into()));
        assert!(changed(&|u| u.settings.credential = CredentialKind::Query { name: "key".into() }));
        assert!(changed(&|u| u.owner = None));
        assert!(!changed(&|u| u.settings.url = "https://A.example:443/v1/".into()));
        assert!(!changed(&|u| u.settings.cache.enabled = true));
        assert!(!changed(&|u| u.updated_at_ms = 7));
        // Of the operator's the place alone, and not in words.
        let shared = upstream(None, "https://a.example/v1", "1");
        assert_eq!(of_upstream(&shared), of_upstream(&Upstream { secret_revision: "2".into(), ..shared.clone() }));
        assert_ne!(of_upstream(&shared), of_upstream(&upstream(None, "https://b.example/v1", "1")));
        assert!(!of_upstream(&shared).contains("a.example"));
        // One without a credential says so by its place alone.
        assert_eq!(of_upstream(&Upstream { sealed: None, ..base.clone() }), "https://a.example:443/v1");
        assert!(of_upstream(&base).starts_with("https://a.example:443/v1 with the credential "));
    }

    #[test]
    fn a_name_is_granted_while_it_leads_to_what_was_approved() {
        let grants = Grants {
            upstreams: ["bank".into(), "none".into()].into(),
            secrets: ["TOKEN".into()].into(),
            ..Grants::default()
        };
        let before = Leads::new([&upstream(Some("acme"), "https://a.example", "1")]);
        let after = Leads::new([&upstream(Some("acme"), "https://b.example", "1")]);
        let bound = before.bind(&grants);
        assert_eq!(before.effective(&bound), bound);
        let left = after.effective(&bound);
        assert_eq!((&left.upstreams, &left.secrets), (&["none".to_owned()].into(), &grants.secrets));
        assert_eq!(left.moved, ["bank".to_owned()].into());
        assert_eq!(after.effective(&after.bind(&bound)), after.bind(&grants));
        // What was granted before entries were stored leads wherever it does, until it is completed.
        assert_eq!(after.effective(&grants), grants);
        assert_eq!(after.effective(&before.complete(&grants)).upstreams, left.upstreams);
        assert_eq!(before.complete(&after.bind(&grants)), after.bind(&grants));
    }

    #[test]
    fn neither_takes_the_others_place() {
        let at =
            |owner: Option<&str>, ms: i64| Upstream { created_at_ms: ms, ..upstream(owner, "https://a.example", "1") };
        let owner = |own: i64, operators: i64| {
            let both = called(vec![at(None, operators), at(Some("acme"), own)]);
            let turned = called(vec![at(Some("acme"), own), at(None, operators)]);
            assert!(both == turned && both.len() == 1);
            both[0].owner.is_some()
        };
        assert!(owner(1, 2));
        assert!(!owner(2, 1) && !owner(1, 1));
        assert_eq!(called(vec![at(None, 1)]).len(), 1);
    }

    fn variable(name: &str, secret: bool, revision: &str) -> Variable {
        Variable {
            partner: "acme".parse().unwrap(),
            function: Some("f".parse().unwrap()),
            id: "v-1".parse().unwrap(),
            name: name.into(),
            secret,
            sealed: vec![],
            revision: revision.into(),
            created_at_ms: 0,
            updated_at_ms: 0,
        }
    }

    #[test]
    fn a_secret_with_another_value_is_not_granted_until_somebody_says_yes_again() {
        let grants = Grants { secrets: ["TOKEN".into(), "PLAIN".into()].into(), ..Grants::default() };
        let of =
            |revision: &str| Leads::default().of(&[variable("TOKEN", true, revision), variable("PLAIN", false, "1")]);
        let (before, after) = (of("1"), of("2"));
        assert_ne!(before.secret("TOKEN"), after.secret("TOKEN"));
        // Only secrets lead anywhere.
        assert_eq!((before.secret("PLAIN"), before.secret("OTHER"), before.upstream("x")), (NOWHERE, NOWHERE, NOWHERE));
        let bound = before.bind(&grants);
        assert!(before.are_of(&bound) && !after.are_of(&bound));
        assert_eq!(before.effective(&bound).secrets, grants.secrets);
        assert_eq!(after.effective(&bound).secrets, ["PLAIN".to_owned()].into());
        assert!(after.effective(&bound).moved.is_empty());

        // What is asked for in addition leads where it does now, what was granted where it did then.
        let more = Grants { secrets: ["TOKEN".into(), "NEW".into()].into(), state: true, ..Grants::default() };
        let now = Leads::default().of(&[variable("TOKEN", true, "2"), variable("NEW", true, "7")]);
        let inherited = now.inherit(&bound, &more);
        assert!(inherited.state && inherited.secrets == more.secrets);
        assert_eq!(inherited.leads[&secret_key("TOKEN")], before.secret("TOKEN"));
        assert_eq!(inherited.leads[&secret_key("NEW")], now.secret("NEW"));
        assert_eq!(now.effective(&inherited).secrets, ["NEW".to_owned()].into());
    }
}
