//! Telling a webhook, by Standard Webhooks: every try is signed anew over its id, its time and the bytes of its body. The
//! id stays the same, so that the receiver knows what it has had.

use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::Utc;
use ring::hmac;
use serde_json::{Value, json};
use tokio::sync::mpsc;

const TRIES: u32 = 8;
const FIRST_REST: Duration = Duration::from_millis(200);

pub struct Push {
    url: String,
    key: hmac::Key,
    client: reqwest::Client,
}

impl Push {
    /// `secret` is `whsec_` and base64.
    pub fn new(url: String, secret: &str) -> anyhow::Result<Push> {
        let secret = secret.strip_prefix("whsec_").context("a secret begins with whsec_")?;
        let secret = BASE64_STANDARD.decode(secret).context("a secret is base64 behind whsec_")?;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
        Ok(Push { url, key: hmac::Key::new(hmac::HMAC_SHA256, &secret), client })
    }

    /// Tells of each item until the sender is gone.
    pub async fn run(self, mut items: mpsc::UnboundedReceiver<Value>) {
        let mut number = 0;
        while let Some(item) = items.recv().await {
            number += 1;
            let body = json!({ "items": [item] }).to_string();
            self.tell(&format!("msg_{}_{number}", Utc::now().timestamp_millis()), &body).await;
        }
    }

    async fn tell(&self, id: &str, body: &str) {
        let mut rest = FIRST_REST;
        for _ in 0..TRIES {
            let seconds = Utc::now().timestamp();
            let signature = hmac::sign(&self.key, format!("{id}.{seconds}.{body}").as_bytes());
            let request = self
                .client
                .post(&self.url)
                .header("content-type", "application/json")
                .header("webhook-id", id)
                .header("webhook-timestamp", seconds)
                .header("webhook-signature", format!("v1,{}", BASE64_STANDARD.encode(signature)))
                .body(body.to_owned());
            match request.send().await {
                Ok(answer) if answer.status().is_success() => return,
                Ok(answer) => eprintln!("{id} was answered {}; trying again", answer.status()),
                Err(err) => eprintln!("{id} was not answered ({err}); trying again"),
            }
            tokio::time::sleep(rest).await;
            rest *= 2;
        }
        eprintln!("{id} was given up after {TRIES} tries");
    }
}
