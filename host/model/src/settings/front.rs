//! What the settings of fronts must be: of a core to which they connect, and of a front itself.

use std::time::Duration;

use super::{Complaints, Front, Settings};

impl Front {
    pub(super) fn check(&self, found: &mut Complaints) {
        found.unless(self.connections_max > 0, "front.connections_max", "must be at least 1");
        found.unless(self.connections_per_address > 0, "front.connections_per_address", "must be at least 1");
        let lifetimes = Duration::from_secs(10)..=Duration::from_secs(398 * 24 * 3_600);
        found.unless(lifetimes.contains(&self.lifetime), "front.lifetime", "must be 10s to 398days");
        for core in &self.cores {
            let is_address = core
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
            found.unless(
                is_address,
                "front.cores",
                &format!("must have addresses with a port such as 10.0.1.2:8443, not {core:?}"),
            );
        }
        found.unless(self.cores.len() <= 16, "front.cores", "must have at most 16 addresses");
        found.unless(
            self.cores.is_empty() || self.listen.is_none(),
            "front.listen",
            "is a core's and front.cores a front's: a process is one of both",
        );
        found.unless(!self.connect_timeout.is_zero(), "front.connect_timeout", "must be more than 0");
        found.unless(!self.answer_timeout.is_zero(), "front.answer_timeout", "must be more than 0");
        found.unless(!self.poll.is_zero(), "front.poll", "must be more than 0");
    }

    /// Are these the settings of a front?
    pub fn is_one(&self) -> bool {
        !self.cores.is_empty()
    }
}

impl Settings {
    /// Settings that a front must not have: whoever takes it over would have them too.
    pub fn not_for_a_front(&self) -> Vec<&'static str> {
        let file = |path: &std::path::Path| !path.as_os_str().is_empty();
        [
            ("database.url", !self.database.url.is_empty()),
            ("database.password_file", file(&self.database.password_file)),
            ("redis.url", !self.redis.url.is_empty()),
            ("redis.password_file", file(&self.redis.password_file)),
            ("objects.url", !self.objects.url.is_empty()),
            ("objects.access_key_file", file(&self.objects.access_key_file)),
            ("secrets.master_key_file", file(&self.secrets.master_key_file)),
            ("secrets.operator_key_file", file(&self.secrets.operator_key_file)),
            ("acme.directory", !self.acme.directory.is_empty()),
            ("acme.external_account_key_file", file(&self.acme.external_account_key_file)),
        ]
        .into_iter()
        .filter_map(|(key, given)| given.then_some(key))
        .collect()
    }
}
