//! Cache of upstream responses, in this process and, through Redis, shared with the others.
//!
//! * A [`Key`] consists of a target (upstream, path and query) and a variant: all request headers that are forwarded to the
//!   service ([`freshness::compared`]). A cacheable request forwards no others, so every `Vary` is satisfied, and nobody can
//!   store a response for others that only their own headers produced. The target includes the upstream's owner: tenants share
//!   only the entries of the operator's upstreams.
//! * [`CachedResponse`] is a response after the credential was removed, with its times.
//!
//! Entries in Redis are sealed like secrets, bound to their target. They may hold data of end users, and functions save money
//! according to them: access to Redis must allow neither reading nor forging them. When Redis is lost or slow there are fewer
//! hits, and no other effect.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use larder_model::Upstream;
use larder_model::fields::Tag;
use larder_model::time::Millis;
use larder_secrets::Secrets;
use larder_signals::Signals;
use lru::LruCache;
use serde::{Deserialize, Serialize};

use crate::upstreams::freshness::{self, Directives, Use};

/// Target and variant.
pub type Key = ([u8; 32], [u8; 32]);

/// The maximum number of variants of one target; the oldest is evicted.
const VARIANTS_MAX: usize = 4;
/// The maximum size of all entries in this process.
const BYTES_MAX: usize = 32 << 20;
/// The memory of an entry besides its body and headers.
const OVERHEAD_BYTES: usize = 512;
/// How long a stale response may still be revalidated.
const STALE_TTL_S: u64 = 600;
const TTL_MAX: Duration = Duration::from_secs(24 * 3_600);
/// The time limit for Redis: a cache lookup must not take as long as a request.
const REDIS_WAIT: Duration = Duration::from_millis(100);

/// A response without hop-by-hop headers and without the credential.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A response that may be reused.
#[derive(Clone, Debug)]
pub struct CachedResponse {
    variant: [u8; 32],
    pub answer: Answer,
    pub usable: Use,
    requested_ms: Millis,
    received_ms: Millis,
}

impl CachedResponse {
    /// Returns `None` if the response must not be cached.
    pub fn new(
        key: &Key,
        answer: Answer,
        max_age_s: Option<u32>,
        requested_ms: Millis,
        received_ms: Millis,
    ) -> Option<CachedResponse> {
        let usable = freshness::usable(answer.status, &answer.headers, max_age_s, received_ms)?;
        Some(CachedResponse { variant: key.1, answer, usable, requested_ms, received_ms })
    }

    pub fn age_ms(&self, now: Millis) -> Millis {
        let initial = freshness::initial_age_ms(&self.answer.headers, self.requested_ms, self.received_ms);
        initial + (now - self.received_ms).max(0)
    }

    pub fn is_fresh(&self, request: &Directives, now: Millis) -> bool {
        freshness::satisfies(request, self.usable.fresh_s, self.age_ms(now))
    }

    /// May it be used when revalidation fails (RFC 5861, section 4)?
    pub fn may_be_stale(&self, now: Millis) -> bool {
        let most = self.usable.fresh_s.saturating_add(self.usable.stale_if_error_s);
        self.usable.stale_if_error_s > 0 && self.age_ms(now) as u64 <= most.saturating_mul(1_000)
    }

    /// Adds the conditions that revalidate it (RFC 9110, section 13.1).
    pub fn ask(&self, headers: &mut HeaderMap) {
        for (validator, condition) in
            [(header::ETAG, header::IF_NONE_MATCH), (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE)]
        {
            if let Some(value) = self.answer.headers.get(validator) {
                headers.insert(condition, value.clone());
            }
        }
    }

    /// Updates the headers after a successful revalidation (RFC 9111, section 3.2). Returns `None` if they belong to another
    /// response.
    pub fn renewed(
        &self,
        said: &HeaderMap,
        max_age_s: Option<u32>,
        requested_ms: Millis,
        received_ms: Millis,
    ) -> Option<CachedResponse> {
        // Section 4.3.4: a strong tag identifies one representation, a weak one all equivalent ones.
        if said.contains_key(header::ETAG) {
            let (known, now) = (Tag::of(&self.answer.headers)?, Tag::of(said)?);
            if !(known == now || now.weak && known.is_like(&now)) {
                return None;
            }
        }
        let mut answer = self.answer.clone();
        // The previous `Age` does not apply to the new response.
        answer.headers.remove(header::AGE);
        for name in said.keys() {
            if [header::CONTENT_LENGTH, header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_RANGE]
                .contains(name)
            {
                continue;
            }
            answer.headers.remove(name);
            for value in said.get_all(name) {
                answer.headers.append(name, value.clone());
            }
        }
        let usable = freshness::usable(answer.status, &answer.headers, max_age_s, received_ms)?;
        Some(CachedResponse { variant: self.variant, answer, usable, requested_ms, received_ms })
    }

    /// How long it is stored from now on.
    fn ttl(&self, now: Millis) -> Duration {
        let beyond = if freshness::has_validator(&self.answer.headers) { STALE_TTL_S } else { 0 };
        let most_s = self.usable.fresh_s.saturating_add(beyond.max(self.usable.stale_if_error_s));
        let left_ms = most_s.saturating_mul(1_000).saturating_sub(self.age_ms(now).max(0) as u64);
        Duration::from_millis(left_ms).min(TTL_MAX)
    }

    fn bytes(&self) -> usize {
        let headers = self.answer.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
        OVERHEAD_BYTES + self.answer.body.len() + headers.sum::<usize>()
    }
}

/// The cache key of a request; `None` if it bypasses the cache. Requests with conditions or ranges bypass it, and so do
/// requests with credentials of their own (RFC 9111, section 3.5).
pub fn key(upstream: &Upstream, method: &Method, target: &str, headers: &HeaderMap) -> Option<Key> {
    const BYPASS_HEADERS: [HeaderName; 9] = [
        header::AUTHORIZATION,
        header::COOKIE,
        header::IF_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_NONE_MATCH,
        header::IF_RANGE,
        header::IF_UNMODIFIED_SINCE,
        header::RANGE,
        HeaderName::from_static("a-im"),
    ];
    let plain = upstream.settings.cache.enabled
        && [Method::GET, Method::HEAD].contains(method)
        && !BYPASS_HEADERS.iter().any(|name| headers.contains_key(name))
        && !Directives::of(headers).has("no-store");
    plain.then(|| (target_key(upstream, target), variant(headers)))
}

pub fn target_key(upstream: &Upstream, target: &str) -> [u8; 32] {
    let owner = upstream.owner.as_ref().map_or("", |owner| owner.as_str());
    // Other settings or another credential may produce other responses.
    let (created, updated) = (upstream.created_at_ms.to_le_bytes(), upstream.updated_at_ms.to_le_bytes());
    hashed([owner.as_bytes(), upstream.name.as_bytes(), &created, &updated, target.as_bytes()])
}

/// Hashes the headers that are forwarded, and nothing else.
fn variant(headers: &HeaderMap) -> [u8; 32] {
    let forwarded = freshness::compared(headers);
    let mut lines: Vec<(&str, &[u8])> =
        forwarded.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    // The order of values counts within a name, not between names.
    lines.sort_by_key(|(name, _)| *name);
    hashed(lines.into_iter().flat_map(|(name, value)| [name.as_bytes(), value]))
}

/// Hashes the parts with their lengths, so that different lists have different hashes.
fn hashed<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hash = blake3::Hasher::new();
    for part in parts {
        hash.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    hash.finalize().into()
}

pub struct Cache {
    memory: Mutex<Memory>,
    signals: Signals,
    secrets: Secrets,
}

struct Memory {
    targets: LruCache<[u8; 32], Vec<Arc<CachedResponse>>>,
    bytes: usize,
}

impl Cache {
    pub fn new(signals: Signals, secrets: Secrets) -> Cache {
        let memory = Memory { targets: LruCache::unbounded(), bytes: 0 };
        Cache { memory: Mutex::new(memory), signals, secrets }
    }

    /// Returns this process's entry if it is fresh for the request, else the more recent one of it and the shared entry.
    pub async fn find(&self, key: &Key, request: &Directives, now: Millis) -> Option<Arc<CachedResponse>> {
        let here = self.memory().find(key);
        if here.as_ref().is_some_and(|kept| kept.is_fresh(request, now)) {
            return here;
        }
        let theirs = self.shared(key).await;
        match (here, theirs) {
            (Some(here), Some(theirs)) if here.received_ms >= theirs.received_ms => Some(here),
            (_, Some(theirs)) => {
                let theirs = Arc::new(theirs);
                self.memory().keep(key.0, theirs.clone());
                Some(theirs)
            }
            (here, None) => here,
        }
    }

    pub async fn keep(&self, key: &Key, kept: Arc<CachedResponse>, now: Millis) {
        let ttl = kept.ttl(now);
        let all = self.memory().keep(key.0, kept);
        if ttl.is_zero() {
            return;
        }
        let texts: Vec<Line> = all.iter().map(|kept| Line::of(kept)).collect();
        let sealed = self.secrets.seal(&context(&hex::encode(key.0)), larder_model::json(&texts).as_bytes());
        let _ = tokio::time::timeout(REDIS_WAIT, self.signals.set(&redis_key(&key.0), sealed.into(), ttl)).await;
    }

    /// Invalidates a target (RFC 9111, section 4.4). Other processes notice when their entry is stale.
    pub async fn forget(&self, target: [u8; 32]) {
        self.memory().forget(&target);
        let _ = tokio::time::timeout(REDIS_WAIT, self.signals.delete(&redis_key(&target))).await;
    }

    async fn shared(&self, key: &Key) -> Option<CachedResponse> {
        let sealed = tokio::time::timeout(REDIS_WAIT, self.signals.get(&redis_key(&key.0))).await.ok()??;
        // It may be sealed under an older master key, or not by Larder.
        let text = self.secrets.open(&context(&hex::encode(key.0)), &sealed).ok()?;
        let lines: Vec<Line> = serde_json::from_slice(&text).ok()?;
        lines.into_iter().filter_map(Line::kept).find(|kept| kept.variant == key.1)
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().expect("no panic under the lock")
    }
}

impl Memory {
    fn find(&mut self, key: &Key) -> Option<Arc<CachedResponse>> {
        self.targets.get(&key.0)?.iter().find(|kept| kept.variant == key.1).cloned()
    }

    /// Returns all variants of the target.
    fn keep(&mut self, target: [u8; 32], kept: Arc<CachedResponse>) -> Vec<Arc<CachedResponse>> {
        let mut all = self.targets.pop(&target).unwrap_or_default();
        self.bytes -= all.iter().map(|kept| kept.bytes()).sum::<usize>();
        all.retain(|known| known.variant != kept.variant);
        all.push(kept);
        if all.len() > VARIANTS_MAX {
            all.remove(0);
        }
        self.bytes += all.iter().map(|kept| kept.bytes()).sum::<usize>();
        self.targets.put(target, all.clone());
        while self.bytes > BYTES_MAX {
            let Some((_, oldest)) = self.targets.pop_lru() else { break };
            self.bytes -= oldest.iter().map(|kept| kept.bytes()).sum::<usize>();
        }
        metrics::gauge!("larder_upstream_cache_bytes").set(self.bytes as f64);
        all
    }

    fn forget(&mut self, target: &[u8; 32]) {
        if let Some(all) = self.targets.pop(target) {
            self.bytes -= all.iter().map(|kept| kept.bytes()).sum::<usize>();
        }
    }
}

fn context(target: &str) -> [&str; 2] {
    ["upstream cache", target]
}

fn redis_key(target: &[u8; 32]) -> String {
    format!("cache:{}", hex::encode(target))
}

/// The serialized form of an entry. Each byte of a header value becomes one character.
#[derive(Serialize, Deserialize)]
struct Line {
    variant: [u8; 32],
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
    fresh_s: u64,
    stale_if_error_s: u64,
    requested_ms: Millis,
    received_ms: Millis,
}

impl Line {
    fn of(kept: &CachedResponse) -> Line {
        let text = |value: &HeaderValue| value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
        Line {
            variant: kept.variant,
            status: kept.answer.status,
            headers: kept.answer.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: STANDARD.encode(&kept.answer.body),
            fresh_s: kept.usable.fresh_s,
            stale_if_error_s: kept.usable.stale_if_error_s,
            requested_ms: kept.requested_ms,
            received_ms: kept.received_ms,
        }
    }

    fn kept(self) -> Option<CachedResponse> {
        let mut headers = HeaderMap::new();
        for (name, text) in self.headers {
            let bytes: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<_>>()?;
            headers.append(name.parse::<HeaderName>().ok()?, HeaderValue::from_bytes(&bytes).ok()?);
        }
        Some(CachedResponse {
            variant: self.variant,
            answer: Answer { status: self.status, headers, body: STANDARD.decode(self.body).ok()?.into() },
            usable: Use { fresh_s: self.fresh_s, stale_if_error_s: self.stale_if_error_s },
            requested_ms: self.requested_ms,
            received_ms: self.received_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_model::UpstreamSettings;

    fn upstream(owner: Option<&str>) -> Upstream {
        let mut settings = UpstreamSettings::new("https://a.example");
        settings.cache.enabled = true;
        let owner = owner.map(|id| id.parse().unwrap());
        Upstream {
            owner,
            name: "a".into(),
            settings,
            sealed: None,
            secret_revision: String::new(),
            created_at_ms: 0,
            updated_at_ms: 0,
        }
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    fn kept(
        variant: u8,
        body: &'static [u8],
        received_ms: Millis,
        lines: &[(&'static str, &'static str)],
    ) -> CachedResponse {
        let answer = Answer { status: 200, headers: headers(lines), body: Bytes::from_static(body) };
        CachedResponse::new(&([0; 32], [variant; 32]), answer, None, received_ms, received_ms).unwrap()
    }

    #[test]
    fn keys_differ_where_responses_must_not_be_mixed() {
        let get = |upstream: &Upstream, target: &str, lines: &[(&'static str, &'static str)]| {
            key(upstream, &Method::GET, target, &headers(lines))
        };
        let own = upstream(Some("acme"));
        let plain = get(&own, "/x", &[]).unwrap();
        assert_eq!(
            get(&own, "/x", &[("traceparent", "00-1"), ("idempotency-key", "1"), ("cache-control", "max-age=1")]),
            Some(plain)
        );
        assert_ne!(get(&own, "/x", &[("accept-language", "sv")]), Some(plain));
        assert_ne!(get(&own, "/y", &[]), Some(plain));
        assert_ne!(get(&upstream(Some("bank")), "/x", &[]), Some(plain));
        assert_ne!(get(&upstream(None), "/x", &[]), Some(plain));
        let changed = Upstream { updated_at_ms: 1, ..own.clone() };
        assert_ne!(get(&changed, "/x", &[]), Some(plain));
        for bypassing in [
            ("authorization", "x"),
            ("cookie", "x"),
            ("range", "bytes=0-1"),
            ("if-none-match", "x"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(get(&own, "/x", &[bypassing]), None, "{bypassing:?}");
        }
        assert_eq!(key(&own, &Method::POST, "/x", &headers(&[])), None);
        assert_eq!(key(&own, &Method::HEAD, "/x", &headers(&[])), Some(plain));
    }

    #[test]
    fn memory_and_variants_are_bounded() {
        let mut memory = Memory { targets: LruCache::unbounded(), bytes: 0 };
        let fresh = &[("cache-control", "max-age=60")];
        for variant in 0..6 {
            memory.keep([0; 32], Arc::new(kept(variant, b"x", 0, fresh)));
        }
        assert!(memory.find(&([0; 32], [1; 32])).is_none());
        assert!(memory.find(&([0; 32], [5; 32])).is_some());
        let large = Bytes::from(vec![0; 1 << 20]);
        for target in 1..40 {
            let answer = Answer { body: large.clone(), ..kept(0, b"", 0, fresh).answer };
            memory.keep([target; 32], Arc::new(CachedResponse { answer, ..kept(0, b"", 0, fresh) }));
        }
        assert!(memory.bytes <= BYTES_MAX, "{}", memory.bytes);
        assert!(memory.find(&([0; 32], [5; 32])).is_none(), "the one that was not used for longest went first");
        assert!(memory.find(&([39; 32], [0; 32])).is_some());
        for target in 1..40 {
            memory.forget(&[target; 32]);
        }
        assert_eq!(memory.bytes, 0);
    }

    #[test]
    fn entries_round_trip() {
        let mut one =
            kept(7, b"\x00\xffbody", 1_000, &[("cache-control", "max-age=60, stale-if-error=5"), ("etag", "\"a\"")]);
        one.answer.headers.insert("x-odd", HeaderValue::from_bytes(b"\xe5\xff").unwrap());
        let read =
            serde_json::from_str::<Line>(&serde_json::to_string(&Line::of(&one)).unwrap()).unwrap().kept().unwrap();
        assert_eq!(
            (read.answer.headers, read.answer.body, read.usable),
            (one.answer.headers, one.answer.body, one.usable)
        );
    }

    #[test]
    fn entries_age_are_revalidated_and_may_be_used_stale_after_an_error() {
        let one =
            kept(0, b"x", 0, &[("cache-control", "max-age=60, stale-if-error=30"), ("etag", "\"a\""), ("x-old", "1")]);
        let any = Directives::of(&HeaderMap::new());
        assert!(one.is_fresh(&any, 59_999) && !one.is_fresh(&any, 60_000));
        assert!(one.may_be_stale(90_000) && !one.may_be_stale(90_001));
        let renewed = one.renewed(
            &headers(&[("etag", "\"a\""), ("cache-control", "max-age=10"), ("x-new", "1")]),
            None,
            60_000,
            60_000,
        );
        let renewed = renewed.unwrap();
        assert!(renewed.is_fresh(&any, 69_999) && !renewed.is_fresh(&any, 70_000));
        assert!(renewed.answer.headers.contains_key("x-new") && renewed.answer.headers.contains_key("x-old"));
        assert!(one.renewed(&headers(&[("etag", "\"b\"")]), None, 60_000, 60_000).is_none(), "of another answer");
        let mut asked = HeaderMap::new();
        one.ask(&mut asked);
        assert_eq!(asked["if-none-match"], "\"a\"");
    }
}
