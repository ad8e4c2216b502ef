//! What the settings of the provider must be at which people sign in.

use super::{Complaints, Oidc};
use crate::providers::place;

impl Oidc {
    pub fn is_set(&self) -> bool {
        !self.issuer.is_empty()
    }

    /// What people call the provider.
    pub fn shown(&self) -> String {
        let host = || place(&self.issuer).map(|(base, _)| base.host).unwrap_or_default();
        if self.name.is_empty() { host() } else { self.name.clone() }
    }

    pub(super) fn check(&self, found: &mut Complaints) {
        if !self.is_set() {
            return;
        }
        let issuer = place(&self.issuer).map(|_| ());
        let issuer = issuer.and_then(|()| if self.issuer.contains('?') { Err("has a query".into()) } else { Ok(()) });
        found.unless(issuer.is_ok(), "oidc.issuer", &issuer.err().unwrap_or_default());
        found.unless(!self.client_id.is_empty(), "oidc.client_id", "must be set, because oidc.issuer is");
        let scopes = &self.scopes;
        let has = |wanted: &str| scopes.iter().any(|scope| scope == wanted);
        let is_one = |scope: &String| !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic());
        found.unless(has("openid") && scopes.iter().all(is_one), "oidc.scopes", "must have openid, and no blanks");
        found.unless(!self.roles_claim.is_empty(), "oidc.roles_claim", "must name a claim");
        found.unless(
            !self.roles.is_empty(),
            "oidc.roles",
            "must give somebody a role: GROUP=PARTNER:ROLE or GROUP=ROLE",
        );
    }
}
