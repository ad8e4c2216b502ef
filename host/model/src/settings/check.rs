//! What settings must be, one by one and together.

use std::fmt;
use std::time::Duration;

use super::Settings;
use super::layers::Layers;

/// Everything that is wrong with the settings, each line naming its key.
#[derive(Debug, Default)]
pub struct Complaints(pub(super) Vec<String>);

impl Complaints {
    pub(super) fn add(&mut self, why: String) {
        self.0.push(why);
    }

    /// Says by which variable a setting came that the environment sets.
    pub(super) fn naming(self, layers: &Layers) -> Complaints {
        let named = |line: String| match line.split_once(' ') {
            Some((key, why)) => format!("{} {why}", layers.named(key)),
            None => line,
        };
        Complaints(self.0.into_iter().map(named).collect())
    }

    pub(super) fn unless(&mut self, fine: bool, key: &str, why: &str) {
        if !fine {
            self.0.push(format!("{key} {why}"));
        }
    }
}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the settings are wrong:\n  {}", self.0.join("\n  "))
    }
}

impl std::error::Error for Complaints {}

impl Settings {
    /// What is wrong, if anything is.
    pub(super) fn check(&self) -> Result<(), Complaints> {
        let mut found = Complaints::default();
        let second = Duration::from_secs(1);
        found.unless(
            self.root_host().is_some(),
            "server.root_url",
            "must be http:// or https:// and a host, with or without a port",
        );
        let bare = &self.server.bare_partner;
        found.unless(
            bare.is_empty() || bare.parse::<crate::ids::PartnerId>().is_ok(),
            "server.bare_partner",
            "must be empty or the id of a partner",
        );
        found.unless(
            !self.server.proxy_protocol || !self.server.proxies.is_empty(),
            "server.proxy_protocol",
            "needs the proxies in server.proxies: whoever is none of them cannot connect",
        );
        let functions = &self.server.functions_domain;
        let root = self.root_host().unwrap_or_default();
        found.unless(
            functions.is_empty() || (is_domain(functions) && !format!(".{root}").ends_with(&format!(".{functions}"))),
            "server.functions_domain",
            "must be empty or a domain in lower case, neither the host of server.root_url nor above it",
        );
        let target = &self.server.domain_target;
        found.unless(
            target.is_empty() || is_domain(target),
            "server.domain_target",
            "must be empty or a domain in lower case",
        );
        found.unless(self.server.domain_recheck >= second, "server.domain_recheck", "must be at least 1s");
        found.unless(
            (1..=10_000).contains(&self.server.rules_per_partner),
            "server.rules_per_partner",
            "must be 1 to 10000",
        );
        found.unless(
            (1..=1_000).contains(&self.server.webhooks_per_partner),
            "server.webhooks_per_partner",
            "must be 1 to 1000",
        );
        let database = &self.database.url;
        found.unless(
            database.is_empty() || database.starts_with("mysql://"),
            "database.url",
            "must be empty or begin with mysql://",
        );
        found.unless(
            (1..=1_000).contains(&self.database.connections_max),
            "database.connections_max",
            "must be 1 to 1000",
        );
        found.unless(self.database.timeout >= second, "database.timeout", "must be at least 1s");
        found.unless(
            (1..=1_000).contains(&self.database.list_connections_max),
            "database.list_connections_max",
            "must be 1 to 1000",
        );
        let list_timeouts = Duration::from_millis(1)..self.database.timeout;
        found.unless(
            list_timeouts.contains(&self.database.list_timeout),
            "database.list_timeout",
            "must be at least 1ms and less than database.timeout",
        );
        let redis = &self.redis.url;
        found.unless(
            redis.is_empty() || redis.starts_with("redis://") || redis.starts_with("rediss://"),
            "redis.url",
            "must be empty or begin with redis:// or rediss://",
        );
        found.unless(
            redis.is_empty() || !database.is_empty(),
            "redis.url",
            "needs database.url: the embedded database serves one process, which needs no Redis",
        );
        found.unless(!self.redis.prefix.is_empty(), "redis.prefix", "must not be empty");
        found.unless(!self.redis.timeout.is_zero(), "redis.timeout", "must be more than 0");
        let objects = &self.objects.url;
        found.unless(
            objects.is_empty() || objects.starts_with("file:///") || objects.starts_with("s3://"),
            "objects.url",
            "must be empty or begin with file:/// or s3://",
        );
        found.unless(!self.partners.poll.is_zero(), "partners.poll", "must be more than 0");
        let people = &self.administrators;
        found.unless(people.session_idle >= second, "administrators.session_idle", "must be at least 1s");
        found.unless(
            people.session_max >= people.session_idle,
            "administrators.session_max",
            "must be at least administrators.session_idle",
        );
        found.unless((1..=64).contains(&people.sign_ins_at_once), "administrators.sign_ins_at_once", "must be 1 to 64");
        self.oidc.check(&mut found);
        self.mail.check(&mut found);
        found.unless(self.server.connections_max > 0, "server.connections_max", "must be at least 1");
        found.unless(self.server.reads_per_partner > 0, "server.reads_per_partner", "must be at least 1");
        let server = &self.server;
        found.unless(server.connections_per_address > 0, "server.connections_per_address", "must be at least 1");
        found.unless(
            (1..=10_000).contains(&server.streams_per_connection),
            "server.streams_per_connection",
            "must be 1 to 10000",
        );
        self.tls.check(&self.acme, &self.front, &mut found);
        self.acme.check(&mut found);
        self.front.check(&mut found);
        found.unless(!server.body_timeout.is_zero(), "server.body_timeout", "must be more than 0");
        found.unless(server.body_rate_min > 0, "server.body_rate_min", "must be at least 1");
        found.unless(server.body_bytes_per_partner > 0, "server.body_bytes_per_partner", "must be at least 1");
        found.unless(
            server.body_bytes_held_max >= server.body_bytes_per_partner,
            "server.body_bytes_held_max",
            "must be at least server.body_bytes_per_partner",
        );
        found.unless(server.answer_bytes_per_partner > 0, "server.answer_bytes_per_partner", "must be at least 1");
        found.unless(
            server.answer_bytes_held_max >= server.answer_bytes_per_partner,
            "server.answer_bytes_held_max",
            "must be at least server.answer_bytes_per_partner",
        );
        found.unless(self.server.calls_per_partner > 0, "server.calls_per_partner", "must be at least 1");
        found.unless(!self.server.client_timeout.is_zero(), "server.client_timeout", "must be more than 0");
        found.unless(!self.server.answer_timeout.is_zero(), "server.answer_timeout", "must be more than 0");
        found.unless(self.server.call_timeout >= second, "server.call_timeout", "must be at least 1s");
        found.unless(
            (second..=Duration::from_secs(900)).contains(&self.functions.timeout_max),
            "functions.timeout_max",
            "must be 1s to 900s",
        );
        found.unless(self.build.memory_bytes >= 256 << 20, "build.memory_bytes", "must be at least 268435456");
        found.unless(self.build.unfinished_uploads >= second, "build.unfinished_uploads", "must be at least 1s");
        found.unless(
            self.build.unpacked_bytes_max >= self.build.upload_bytes_max as u64,
            "build.unpacked_bytes_max",
            "must be at least build.upload_bytes_max",
        );
        found.unless(self.build.deadline >= second, "build.deadline", "must be at least 1s");
        found.unless((1..=1_000).contains(&self.runtime.instances_max), "runtime.instances_max", "must be 1 to 1000");
        let largest = crate::Limits::CEILING.memory_bytes;
        for (key, bytes) in [
            ("runtime.memory_bytes_max", self.runtime.memory_bytes_max),
            ("runtime.memory_bytes_per_partner", self.runtime.memory_bytes_per_partner),
        ] {
            found.unless(
                bytes == 0 || bytes >= largest,
                key,
                &format!("must be 0 or at least {largest}, what a function may have"),
            );
        }
        found.unless((1..=16).contains(&self.build.at_once), "build.at_once", "must be 1 to 16");
        found.unless(self.build.uploads_per_partner > 0, "build.uploads_per_partner", "must be at least 1");
        found.unless(
            self.build.staged_bytes_per_partner >= self.build.upload_bytes_max as u64,
            "build.staged_bytes_per_partner",
            "must be at least build.upload_bytes_max",
        );
        found.unless(self.worker.executions_max > 0, "worker.executions_max", "must be at least 1");
        found.unless(
            self.worker.executions_max <= self.runtime.instances_max,
            "worker.executions_max",
            "must not exceed runtime.instances_max",
        );
        found.unless(self.worker.executions_per_partner > 0, "worker.executions_per_partner", "must be at least 1");
        found.unless(self.worker.lease >= 5 * second, "worker.lease", "must be at least 5s, to outlast its renewal");
        found.unless(!self.worker.retry_delay.is_zero(), "worker.retry_delay", "must be more than 0");
        found.unless(
            self.worker.retry_delay_max >= self.worker.retry_delay,
            "worker.retry_delay_max",
            "must be at least worker.retry_delay",
        );
        found.unless(self.worker.attempts > 0, "worker.attempts", "must be at least 1");
        found.unless(
            self.worker.retry_host_failures_for >= self.worker.retry_delay,
            "worker.retry_host_failures_for",
            "must not be less than worker.retry_delay",
        );
        found.unless(self.worker.attempts_lost > 0, "worker.attempts_lost", "must be at least 1");
        found.unless(
            (1..=100).contains(&self.worker.fanout_failures_percent),
            "worker.fanout_failures_percent",
            "must be 1 to 100",
        );
        found.unless(!self.worker.poll.is_zero(), "worker.poll", "must be more than 0");
        let zoneinfo = &self.scheduler.zoneinfo;
        found.unless(
            zoneinfo.as_os_str().is_empty() || zoneinfo.is_dir(),
            "scheduler.zoneinfo",
            "must be empty or name a folder",
        );
        for (key, most) in [
            ("worker.due_max", u64::from(self.worker.due_max)),
            ("worker.waiting_per_partner", u64::from(self.worker.waiting_per_partner)),
            ("worker.events_per_partner", u64::from(self.worker.events_per_partner)),
            ("worker.descendants_per_event", self.worker.descendants_per_event),
        ] {
            found.unless(most > 0, key, "must be at least 1");
        }
        found.unless((1..=1_000).contains(&self.worker.bulk_batch), "worker.bulk_batch", "must be 1 to 1000");
        found.unless(
            (1..=1_000).contains(&self.worker.bulk_actions_per_partner),
            "worker.bulk_actions_per_partner",
            "must be 1 to 1000",
        );
        found.unless(!self.scheduler.poll.is_zero(), "scheduler.poll", "must be more than 0");
        found.unless(!self.feeds.poll.is_zero(), "feeds.poll", "must be more than 0");
        found.unless(self.feeds.polls_max > 0, "feeds.polls_max", "must be at least 1");
        found.unless(self.feeds.timeout >= second, "feeds.timeout", "must be at least 1s");
        found.unless((1..=32 << 20).contains(&self.feeds.bytes_max), "feeds.bytes_max", "must be 1 to 33554432");
        found.unless((1..=10_000).contains(&self.feeds.items_max), "feeds.items_max", "must be 1 to 10000");
        found.unless((1..=1_000).contains(&self.feeds.per_partner), "feeds.per_partner", "must be 1 to 1000");
        found.unless(self.feeds.rest_max >= second, "feeds.rest_max", "must be at least 1s");
        let identity = &self.identity;
        found.unless(identity.keys_refresh >= second, "identity.keys_refresh", "must be at least 1s");
        found.unless(identity.keys_rest >= second, "identity.keys_rest", "must be at least 1s");
        let timeouts = second..=Duration::from_secs(30);
        found.unless(timeouts.contains(&identity.fetch_timeout), "identity.fetch_timeout", "must be 1s to 30s");
        found.unless(identity.enrolments_per_end_user > 0, "identity.enrolments_per_end_user", "must be at least 1");
        found.unless(identity.requests_per_partner > 0, "identity.requests_per_partner", "must be at least 1");
        found.unless(identity.requests_per_end_user > 0, "identity.requests_per_end_user", "must be at least 1");
        let bursts = second..=Duration::from_secs(3_600);
        found.unless(bursts.contains(&self.rates.burst), "rates.burst", "must be 1s to 1h");
        let egress = &self.egress;
        for network in &egress.private_networks {
            if let Err(why) = crate::net::http_rule::network(network) {
                found.unless(false, "egress.private_networks", &why);
            }
        }
        for (key, time) in [
            ("egress.connect_timeout", egress.connect_timeout),
            ("egress.first_byte_timeout", egress.first_byte_timeout),
            ("egress.between_bytes_timeout", egress.between_bytes_timeout),
            ("egress.timeout", egress.timeout),
            ("egress.idle_timeout", egress.idle_timeout),
            ("egress.time_per_execution", egress.time_per_execution),
        ] {
            found.unless(!time.is_zero(), key, "must be more than 0");
        }
        found.unless(egress.connections_per_partner > 0, "egress.connections_per_partner", "must be at least 1");
        found.unless(
            egress.connections_max >= egress.connections_per_partner,
            "egress.connections_max",
            "must be at least egress.connections_per_partner",
        );
        found.unless(egress.body_bytes_max > 0, "egress.body_bytes_max", "must be at least 1");
        found.unless(
            (1..=1_000).contains(&egress.upstreams_per_partner),
            "egress.upstreams_per_partner",
            "must be 1 to 1000",
        );
        found.unless(egress.calls_at_once > 0, "egress.calls_at_once", "must be at least 1");
        let audit = self.records.audit_retention;
        let long = audit.is_zero() || audit >= Duration::from_secs(24 * 3_600);
        found.unless(long, "records.audit_retention", "must be at least a day, or \"0s\" for ever");
        found.unless(self.records.buffer > 0, "records.buffer", "must be at least 1");
        found.unless(!self.records.flush.is_zero(), "records.flush", "must be more than 0");
        found.unless(!self.secrets.poll.is_zero(), "secrets.poll", "must be more than 0");
        found.unless(self.secrets.settle >= self.secrets.poll, "secrets.settle", "must be at least secrets.poll");
        if found.0.is_empty() { Ok(()) } else { Err(found) }
    }
}

/// Labels of a-z, 0-9 and `-`, with dots between them.
fn is_domain(text: &str) -> bool {
    text.len() <= 180 && text.split('.').all(crate::rules::is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_of_functions_is_not_above_the_root() {
        let with = |root: &str, functions: &str| {
            let overrides = [("server.root_url", root.to_owned()), ("server.functions_domain", functions.to_owned())];
            Settings::load(None, &overrides).map_err(|found| found.to_string())
        };
        for functions in ["", "functions.localhost", "functions.example", "f.larder.example", "xlarder.example"] {
            with("https://larder.example", functions).unwrap();
        }
        for functions in ["larder.example", "example", "Functions.Example", "a..b", ".a", "a.", "a b", "-a.example"] {
            let found = with("https://larder.example", functions).unwrap_err();
            assert!(found.contains("server.functions_domain"), "{functions}: {found}");
        }
        let settings = with("https://larder.example:8443", "acme.larder.example").unwrap();
        assert!(settings.is_functions_domain_of("acme") && !settings.is_functions_domain_of("other"));
        assert!(with("http://localhost", "acme-api.localhost").unwrap().is_functions_domain_of("acme"));
        assert!(!with("http://localhost", "").unwrap().is_functions_domain_of(""));
    }

    #[test]
    fn all_complaints_come_at_once_and_name_their_keys() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("larder.toml");
        let text = "[worker]\nlease = \"1s\"\nattempts = 0\n[server]\nroot_url = \"ftp://x\"\n\
                    [egress]\nprivate_networks = [\"10.0.0.1/8\"]\ntimeout = \"0s\"\nconnections_max = 1\n";
        std::fs::write(&file, text).unwrap();
        let text = Settings::load(Some(&file), &[]).unwrap_err().to_string();
        for key in [
            "worker.lease",
            "worker.attempts",
            "server.root_url",
            "egress.private_networks",
            "egress.timeout",
            "egress.connections_max",
        ] {
            assert!(text.contains(key), "{text}");
        }
        std::fs::write(&file, "[worker]\nleese = \"1s\"\n").unwrap();
        let text = Settings::load(Some(&file), &[]).unwrap_err().to_string();
        assert!(text.contains("leese") && text.contains("worker"), "{text}");
    }
}
