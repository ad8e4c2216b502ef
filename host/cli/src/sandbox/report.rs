//! What runs in the sandbox led to, for people and for scripts.

use larder_model::{Effect, End, Limits, Outcome};
use serde_json::{Value, json};

use super::bytes_as_json;
use super::world::Asked;
use crate::console::{Console, size};
use crate::failure::Result;

/// Bytes of a value that are shown to people.
const SHOWN_MAX: usize = 200;

pub struct Report {
    pub title: String,
    pub enrolled: Option<String>,
    pub limits: Limits,
    pub asked: Vec<Asked>,
    pub outcome: Outcome,
    /// Why Larder would not book what the run did.
    pub refused: Option<String>,
}

impl Report {
    /// Would it have been applied?
    pub fn is_well(&self) -> bool {
        self.refused.is_none() && self.end().0 == "completed"
    }

    /// How it ended, and why or with what answer.
    fn end(&self) -> (&'static str, String) {
        if let Some(why) = &self.refused {
            return ("failed", why.clone());
        }
        match &self.outcome.end {
            End::Returned(answer) => ("completed", answer.as_deref().map(shown).unwrap_or_default()),
            End::Answered(response) => {
                let (status, body) = (response.status(), response.body());
                let word = if status.as_u16() < 500 { "completed" } else { "failed" };
                (word, format!("{} {}", status.as_u16(), shown(body)))
            }
            End::Streamed { status, body_bytes } => ("completed", format!("{status} {body_bytes} bytes")),
            End::Retry(why) => ("retry", why.clone()),
            End::Reject(why) => ("reject", why.clone()),
            End::Failed(failure) => ("failed", failure.to_string()),
        }
    }

    fn json(&self) -> Value {
        let (status, detail) = self.end();
        let (mut transactions, mut events, mut state) = (vec![], vec![], vec![]);
        for effect in &self.outcome.effects {
            match effect {
                Effect::Transaction { end_user, amount, memo, .. } => transactions.push(json!({
                    "endUser": end_user.as_ref().or(self.enrolled.as_ref()), "amount": amount.to_string(),
                    "currency": amount.currency().to_string(), "memo": memo,
                })),
                Effect::Emit(event) => events.push(json!({
                    "type": event.kind, "subject": event.subject, "data": bytes_as_json(&event.data),
                    "attributes": event.attributes,
                })),
                Effect::SetState { key, value } => state.push(json!({ "key": key, "value": bytes_as_json(value) })),
                Effect::DeleteState { key } => state.push(json!({ "key": key, "deleted": true })),
                Effect::IncrementState { key, by } => state.push(json!({ "key": key, "incrementedBy": by })),
            }
        }
        let asked = self.asked.iter().map(|asked| {
            json!({ "request": asked.request, "body": bytes_as_json(&asked.body), "status": asked.answer.as_ref().ok(),
                    "error": asked.answer.as_ref().err() })
        });
        let usage = &self.outcome.usage;
        json!({
            "title": self.title, "status": status, "detail": detail, "transactions": transactions, "events": events,
            "state": state, "requests": asked.collect::<Vec<_>>(), "stdout": self.outcome.logs.stdout,
            "stderr": self.outcome.logs.stderr,
            "used": { "cpuMs": milliseconds(usage.cpu), "memoryBytes": usage.memory_peak_bytes,
                      "effects": self.outcome.effects.len() },
            "limits": { "cpuMs": milliseconds(self.limits.cpu), "memoryBytes": self.limits.memory_bytes,
                        "effects": self.limits.effects },
        })
    }

    fn lines(&self) -> Vec<String> {
        let for_whom = self.enrolled.as_ref().map(|end_user| format!(" for {end_user}")).unwrap_or_default();
        let (status, detail) = self.end();
        let mut lines = vec![format!("{}{for_whom}: {status}", self.title)];
        let mut line = |what: &str, text: String| lines.push(format!("  {what:<9}{text}").trim_end().to_owned());
        let what = match status {
            "completed" if detail.is_empty() => None,
            "completed" => Some("answered"),
            _ => Some("because"),
        };
        what.into_iter().for_each(|what| line(what, detail.clone()));
        for effect in &self.outcome.effects {
            match effect {
                Effect::Transaction { end_user, amount, memo, .. } => {
                    let end_user = end_user.as_ref().map(|end_user| format!(" for {end_user}")).unwrap_or_default();
                    let memo = memo.as_ref().map(|memo| format!("  {memo}")).unwrap_or_default();
                    line("save", format!("{amount} {}{end_user}{memo}", amount.currency()));
                }
                Effect::Emit(event) => line("emit", format!("{} {}", event.kind, shown(&event.data))),
                Effect::SetState { key, value } => line("store", format!("{key} = {}", shown(value))),
                Effect::DeleteState { key } => line("delete", key.clone()),
                Effect::IncrementState { key, by } => line("store", format!("{key} += {by}")),
            }
        }
        for asked in &self.asked {
            let answer = match &asked.answer {
                Ok(status) => status.to_string(),
                Err(why) => why.clone(),
            };
            line("ask", format!("{} → {answer}", asked.request));
        }
        for text in self.outcome.logs.stdout.lines().chain(self.outcome.logs.stderr.lines()) {
            line("log", text.to_owned());
        }
        let (usage, limits) = (&self.outcome.usage, &self.limits);
        line(
            "used",
            format!(
                "{:.1} of {} ms CPU, {} of {} memory, {} of {} effects",
                usage.cpu.as_secs_f64() * 1e3,
                limits.cpu.as_millis(),
                size(usage.memory_peak_bytes),
                size(limits.memory_bytes),
                self.outcome.effects.len(),
                limits.effects
            ),
        );
        lines
    }
}

fn milliseconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 10.0
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if text.len() <= SHOWN_MAX {
        text.trim_end().to_owned()
    } else {
        format!("{}…", &text[..text.floor_char_boundary(SHOWN_MAX)])
    }
}

pub fn print(reports: &[Report], console: &Console) -> Result<()> {
    if console.json {
        return console.value(&reports.iter().map(Report::json).collect());
    }
    reports.iter().flat_map(Report::lines).try_for_each(|line| console.line(&line))?;
    console.note("nothing of this was applied");
    Ok(())
}
