//! The operator's authority, as the library for ACME reaches it: through the client for everything that leaves.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::Relaxed;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use instant_acme::{
    Account, AccountCredentials, BodyWrapper, BytesResponse, Error, ExternalAccountKey, HttpClient, NewAccount,
};
use larder_egress::{Client, Destination, Times};
use larder_model::Scheme;
use larder_model::fields;
use larder_model::net::authority::Authority;
use larder_model::time::{Clock, Millis};

use super::Issuer;
use super::order::Failed;
use crate::common::operator;

/// An answer of an authority is a few kilobytes.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// What an authority said in its answers besides their bodies.
#[derive(Clone, Default)]
pub struct Said(Arc<AtomicI64>);

impl Said {
    /// When it wants to be asked again; 0: it did not say.
    pub fn again_at_ms(&self) -> Millis {
        self.0.load(Relaxed)
    }
}

struct Http {
    egress: Client,
    clock: Clock,
    times: Times,
    said: Said,
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (egress, clock, times, said) = (self.egress.clone(), self.clock.clone(), self.times, self.said.clone());
        Box::pin(async move {
            let to = destination(request.uri()).map_err(|why| Error::Other(why.into()))?;
            let request = request.map(|body| body.map_err(|never| match never {}).boxed_unsync());
            let answer =
                egress.send(&operator(), &to, request, &times).await.map_err(|err| Error::Other(Box::new(err)))?;
            let (head, body) = answer.into_parts();
            if matches!(head.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
                let now = clock.now_ms();
                let wait = fields::retry_after(&head.headers, now).unwrap_or_default();
                said.0.fetch_max(now + wait.as_millis() as Millis, Relaxed);
            }
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(Error::Other)?.to_bytes();
            Ok(BytesResponse::from(http::Response::from_parts(head, Full::new(body))))
        })
    }
}

/// Where a request goes: with TLS alone. Private networks are those of `egress.private_networks`.
pub fn destination(uri: &Uri) -> Result<Destination, String> {
    if uri.scheme_str() != Some("https") {
        return Err(format!("the authority names an address without https: {uri}"));
    }
    let authority = uri.authority().ok_or_else(|| format!("the authority names an address without a host: {uri}"))?;
    let to: Authority = authority.as_str().parse().map_err(|why| format!("{uri}: {why}"))?;
    Ok(Destination::new(Scheme::Https, to, everywhere()))
}

/// Every network that `egress.private_networks` allows.
pub fn everywhere() -> Vec<ipnet::IpNet> {
    ["0.0.0.0/0", "::/0"].map(|network| network.parse().expect("a network")).into()
}

/// The installation's account at its authority, made if there is none.
pub async fn account(issuer: &Issuer, said: &Said) -> Result<Account, Failed> {
    let (store, settings) = (&issuer.store, &issuer.settings.acme);
    let http = || {
        let times = Times::of(&issuer.settings.egress);
        Box::new(Http { egress: issuer.egress.clone(), clock: issuer.clock.clone(), times, said: said.clone() })
    };
    let context = ["acme account", settings.directory.as_str()];
    for _ in 0..2 {
        if let Some(sealed) = store.acme_account(&settings.directory).await? {
            let plain = issuer.secrets.open(&context, &sealed)?;
            let credentials: AccountCredentials =
                serde_json::from_str(&plain.text()).map_err(|err| Failed::new(format!("the stored account: {err}")))?;
            return Ok(Account::builder_with_http(http()).from_credentials(credentials).await?);
        }
        let contact = format!("mailto:{}", settings.contact);
        let contacts = [contact.as_str()];
        let new = NewAccount {
            contact: if settings.contact.is_empty() { &[] } else { &contacts },
            terms_of_service_agreed: settings.terms_of_service_agreed,
            only_return_existing: false,
        };
        let bound = external_account(settings)?;
        let (account, credentials) = patiently!({
            let builder = Account::builder_with_http(http());
            builder.create(&new, settings.directory.clone(), bound.as_ref())
        })?;
        let plain = serde_json::to_vec(&credentials).map_err(|err| Failed::new(err.to_string()))?;
        let sealed = issuer.secrets.seal(&context, &plain);
        match store.insert_acme_account(&settings.directory, &sealed, issuer.clock.now_ms()).await {
            Ok(()) => return Ok(account),
            // Another process has made one in the meantime, which all use.
            Err(larder_store::Error::Conflict { .. }) => {}
            Err(err) => return Err(err.into()),
        }
    }
    Err(Failed::new("the account was made and is not there".to_owned()))
}

/// The account of the operator with the authority to which the new one is bound (RFC 8555, section 7.3.4).
fn external_account(settings: &larder_model::settings::Acme) -> Result<Option<ExternalAccountKey>, Failed> {
    if settings.external_account.is_empty() {
        return Ok(None);
    }
    let text = larder_secrets::read_private(&settings.external_account_key_file)
        .map_err(|err| Failed::new(format!("acme.external_account_key_file: {err}")))?;
    let key = BASE64_URL_SAFE_NO_PAD
        .decode(text.trim().trim_end_matches('='))
        .map_err(|err| Failed::new(format!("acme.external_account_key_file is not base64url: {err}")))?;
    Ok(Some(ExternalAccountKey::new(settings.external_account.clone(), &key)))
}
