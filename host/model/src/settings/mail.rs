//! What the settings of mail must be.

use super::{Complaints, Mail};
use crate::administrators::check_email;

impl Mail {
    /// Does anybody get mail?
    pub fn is_on(&self) -> bool {
        !self.host.is_empty() || !self.folder.as_os_str().is_empty()
    }

    pub(super) fn check(&self, found: &mut Complaints) {
        if !self.is_on() {
            return;
        }
        let sender = check_email(&self.sender);
        found.unless(
            sender.is_ok(),
            "mail.sender",
            &format!("{} (mail.host is set)", sender.err().unwrap_or_default()),
        );
        let is_name = !self.sender_name.chars().any(char::is_control);
        found.unless(is_name, "mail.sender_name", "must have no line breaks");
        found.unless(self.port > 0, "mail.port", "must be 1 to 65535");
        let has_password = !self.password.is_empty() || !self.password_file.as_os_str().is_empty();
        found.unless(has_password != self.username.is_empty(), "mail.username", "and a password go together");
        found.unless((1..=60).contains(&self.timeout.as_secs()), "mail.timeout", "must be 1s to 60s");
        found.unless(self.per_recipient > 0, "mail.per_recipient", "must be at least 1");
    }
}
