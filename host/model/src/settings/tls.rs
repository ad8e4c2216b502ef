//! What the settings of TLS and of the authority must be.

use super::{Acme, Complaints, Front, Tls};

impl Tls {
    pub(super) fn check(&self, acme: &Acme, front: &Front, found: &mut Complaints) {
        let files = [(&self.certificate_file, "tls.certificate_file"), (&self.key_file, "tls.key_file")];
        let named = files.iter().any(|(file, _)| !file.as_os_str().is_empty());
        for (file, key) in files {
            found.unless(
                self.listen.is_none()
                    || !file.as_os_str().is_empty()
                    || !(named || (acme.directory.is_empty() && !front.is_one())),
                key,
                "must name a file, because tls.listen is set (or acme.directory an authority)",
            );
        }
        found.unless(
            self.redirect_listen.is_none() || self.listen.is_some(),
            "tls.redirect_listen",
            "needs tls.listen, to which it sends",
        );
        found.unless(!self.poll.is_zero(), "tls.poll", "must be more than 0");
        found.unless(
            self.hsts.is_empty() || is_hsts(&self.hsts),
            "tls.hsts",
            "must be empty or a value such as max-age=31536000; includeSubDomains",
        );
    }
}

/// The value of `Strict-Transport-Security` (RFC 6797, section 6.1), with what preload lists add to it.
fn is_hsts(value: &str) -> bool {
    let mut seconds = 0;
    let known = value.split(';').map(str::trim).all(|part| match part.split_once('=') {
        Some((name, number)) if name.eq_ignore_ascii_case("max-age") && number.parse::<u32>().is_ok() => {
            seconds += 1;
            true
        }
        _ => ["includesubdomains", "preload"].contains(&part.to_ascii_lowercase().as_str()),
    });
    known && seconds == 1
}

impl Acme {
    pub(super) fn check(&self, found: &mut Complaints) {
        let directory = &self.directory;
        found.unless(
            directory.is_empty() || (directory.starts_with("https://") && directory.len() <= 255),
            "acme.directory",
            "must be empty or begin with https://, with at most 255 characters",
        );
        found.unless(
            directory.is_empty() || self.terms_of_service_agreed,
            "acme.terms_of_service_agreed",
            "must be true: the authority of acme.directory gives certificates to those who agree to its terms",
        );
        found.unless(
            self.external_account.is_empty() == self.external_account_key_file.as_os_str().is_empty(),
            "acme.external_account",
            "and acme.external_account_key_file are given together",
        );
        found.unless((1..=10_000).contains(&self.orders_per_partner), "acme.orders_per_partner", "must be 1 to 10000");
        found.unless(!self.poll.is_zero(), "acme.poll", "must be more than 0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hsts_is_a_header_of_its_grammar() {
        for value in ["max-age=0", "max-age=31536000; includeSubDomains; preload", "Max-Age=1;includesubdomains"] {
            assert!(is_hsts(value), "{value}");
        }
        for value in ["includeSubDomains", "max-age", "max-age=x", "max-age=-1", "max-age=1; max-age=2", "max-age=1; x"]
        {
            assert!(!is_hsts(value), "{value}");
        }
        assert!(!is_hsts("max-age=1\r\nx: y") && !is_hsts("max-age=1;"));
    }
}
