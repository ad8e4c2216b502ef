//! Sends letters, each by one process at a time.
//!
//! Who sends a letter first moves the time on when it is due. If the process dies, the letter is due again then and is sent once
//! more, with the same `Message-ID`, by which readers drop the second. What a server refuses for good is given up, and so is a
//! letter whose link has expired; anything else is tried again, later each time.

use std::time::Duration;

use larder_model::ids::MailId;
use larder_model::mails::{Mail, MailStatus};
use larder_model::settings::{self, MailSecurity};
use larder_model::time::Millis;
use larder_signals::Work;
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use tokio::io::AsyncWriteExt;

use crate::administrators::Administration;
use crate::jobs::driver::{Job, Next};
use crate::mails::{self, Letter};

/// Letters in one step.
const BATCH: u32 = 20;
/// How much longer than an attempt a letter is taken.
const SPARE_MS: Millis = 5_000;
const FIRST_DELAY_MS: Millis = 5_000;
const DELAY_MAX_MS: Millis = 15 * 60_000;
const POLL: Duration = Duration::from_secs(5);
const WHY_CHARS_MAX: usize = 500;

pub struct Mails(pub Administration);

/// Why a letter was not taken.
struct Failed {
    why: String,
    is_final: bool,
}

impl Failed {
    fn soon(why: impl ToString) -> Failed {
        Failed { why: why.to_string(), is_final: false }
    }
}

impl Job for Mails {
    const WORK: Work = Work::Mails;
    type Permit = ();

    fn poll(&self) -> Duration {
        POLL
    }

    async fn acquire(&mut self) {}

    async fn step(&mut self, (): ()) -> larder_store::Result<Next> {
        let ctx = &self.0;
        if !ctx.settings.mail.is_on() {
            return Ok(Next::Within(POLL));
        }
        let due = ctx.store.due_mails(ctx.clock.now_ms(), BATCH).await?;
        for mail in &due {
            if ctx.life.drain().is_cancelled() {
                break;
            }
            attempt(ctx, mail).await?;
        }
        Ok(Next::after(due.len() == BATCH as usize, POLL))
    }
}

async fn attempt(ctx: &Administration, mail: &Mail) -> larder_store::Result<()> {
    let settings = &ctx.settings.mail;
    let now = ctx.clock.now_ms();
    let until = now + settings.timeout.as_millis() as Millis + SPARE_MS;
    let Some(sealed) = ctx.store.take_mail(mail, until, now).await? else { return Ok(()) };
    let sent = match mails::open(&ctx.secrets, &mail.id, &sealed) {
        _ if mail.expires_at_ms <= now => {
            Err(Failed { why: format!("its link has expired; before: {}", mail.error), is_final: true })
        }
        Ok(letter) => send(ctx, mail, letter).await,
        Err(err) => Err(Failed { why: err.to_string(), is_final: true }),
    };
    let now = ctx.clock.now_ms();
    let (status, error, due) = match sent {
        Ok(()) => (MailStatus::Sent, String::new(), now),
        Err(failed) => {
            let delay = (FIRST_DELAY_MS << mail.attempts.min(16)).min(DELAY_MAX_MS);
            let error: String = failed.why.chars().filter(|c| !c.is_control()).take(WHY_CHARS_MAX).collect();
            let status = if failed.is_final { MailStatus::GivenUp } else { MailStatus::Waiting };
            tracing::warn!(mail.id = %mail.id, administrator.id = %mail.administrator, attempt = mail.attempts + 1, why = %error,
                status = status.word(), "a letter could not be sent");
            (status, error, now + delay)
        }
    };
    metrics::counter!("larder_mails_total", "end" => status.word()).increment(1);
    ctx.store.end_mail_attempt(&mail.id, until, status, &error, due, now).await
}

async fn send(ctx: &Administration, mail: &Mail, letter: Letter) -> Result<(), Failed> {
    let settings = &ctx.settings.mail;
    let host = ctx.settings.root_host().unwrap_or_default();
    let message = message(settings, &host, mail, letter).map_err(|why| Failed { why, is_final: true })?;
    if settings.host.is_empty() {
        return keep(settings, &mail.id, &message.formatted()).await.map_err(Failed::soon);
    }
    let transport = transport(settings, host).map_err(Failed::soon)?;
    // The library's timeout is of each command.
    match tokio::time::timeout(settings.timeout, transport.send(message)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(err)) => {
            let mut why = err.to_string();
            let mut cause = std::error::Error::source(&err);
            while let Some(inner) = cause {
                why = format!("{why}: {inner}");
                cause = inner.source();
            }
            Err(Failed { why, is_final: err.is_permanent() })
        }
        Err(_) => Err(Failed::soon(format!("the server took longer than {:?} (mail.timeout)", settings.timeout))),
    }
}

fn message(settings: &settings::Mail, host: &str, mail: &Mail, letter: Letter) -> Result<Message, String> {
    let address = |text: &str| text.parse::<Address>().map_err(|err| format!("{text}: {err}"));
    let name = Some(settings.sender_name.clone()).filter(|name| !name.is_empty());
    Message::builder()
        .from(Mailbox::new(name, address(&settings.sender)?))
        .to(Mailbox::new(None, address(&mail.recipient)?))
        .subject(letter.subject)
        .date(std::time::UNIX_EPOCH + Duration::from_millis(mail.created_at_ms.max(0) as u64))
        .message_id(Some(format!("<{}@{host}>", mail.id)))
        .multipart(MultiPart::alternative_plain_html(letter.text, letter.html))
        .map_err(|err| err.to_string())
}

fn transport(settings: &settings::Mail, host: String) -> Result<AsyncSmtpTransport<Tokio1Executor>, String> {
    let parameters = || {
        let mut parameters = TlsParameters::builder(settings.host.clone());
        if !settings.ca_file.as_os_str().is_empty() {
            let wrong = |err: &dyn std::fmt::Display| format!("mail.ca_file {}: {err}", settings.ca_file.display());
            let pem = std::fs::read(&settings.ca_file).map_err(|err| wrong(&err))?;
            let found = rustls::pki_types::pem::PemObject::pem_slice_iter(&pem)
                .collect::<Result<Vec<rustls::pki_types::CertificateDer<'static>>, _>>()
                .map_err(|err| wrong(&err))?;
            for one in found {
                parameters =
                    parameters.add_root_certificate(Certificate::from_der(one.to_vec()).map_err(|err| wrong(&err))?);
            }
        }
        parameters.build().map_err(|err| err.to_string())
    };
    let tls = match settings.security {
        MailSecurity::None => Tls::None,
        MailSecurity::StartTls => Tls::Required(parameters()?),
        MailSecurity::Tls => Tls::Wrapper(parameters()?),
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host)
        .port(settings.port)
        .tls(tls)
        .hello_name(ClientId::Domain(host))
        .timeout(Some(settings.timeout));
    if !settings.username.is_empty() {
        let password = match settings.password_file.as_os_str().is_empty() {
            true => settings.password.clone(),
            false => larder_secrets::read_private(&settings.password_file)
                .map_err(|err| format!("mail.password_file {}: {err}", settings.password_file.display()))?
                .trim()
                .to_owned(),
        };
        builder = builder.credentials(Credentials::new(settings.username.clone(), password));
    }
    Ok(builder.build())
}

/// Puts a letter into the folder, where its owner alone reads it.
async fn keep(settings: &settings::Mail, id: &MailId, text: &[u8]) -> std::io::Result<()> {
    let mut folder = tokio::fs::DirBuilder::new();
    folder.recursive(true).mode(0o700).create(&settings.folder).await?;
    let mut file = tokio::fs::OpenOptions::new();
    let file = file.write(true).create(true).truncate(true).mode(0o600);
    let mut file = file.open(settings.folder.join(format!("{id}.eml"))).await?;
    file.write_all(text).await?;
    file.flush().await
}
