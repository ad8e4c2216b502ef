//! `larder:function/state`: values that outlive a run.
//!
//! A run works on a [`View`]: the backend with the run's own writes laid over it. What it read of the backend is kept
//! as [`Read`]s; reading what it wrote itself depends on nothing and is not.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use larder_model::limits::LimitKind;
use larder_model::outcome::Effect;
use larder_model::state::{Read, whole_number};

use super::{Host, READS_BYTES_MAX, VALUES_BYTES_MAX, check_length, check_value};
use crate::backends;
use crate::bindings::larder::function::state as wit;
use crate::fault::HostFault;

/// Entries that one `list` gives.
const LIST_MAX: usize = 100;

/// The state as the run sees it.
pub(super) struct View {
    backend: Arc<dyn backends::State>,
    own: BTreeMap<String, Own>,
    reads: Vec<Read>,
    reads_bytes: u64,
    /// Bytes of all values that the backend gave.
    values_bytes: u64,
}

/// What the run itself did to a key.
enum Own {
    /// Shared with the effect that it is.
    Value(Bytes),
    Deleted,
    /// Added to whatever the backend has.
    Added(i64),
}

/// Why a state call gives nothing.
#[derive(Debug)]
enum Wrong {
    /// Said to the guest.
    Guest(String),
    Backend(backends::Error),
}

impl From<backends::Error> for Wrong {
    fn from(err: backends::Error) -> Wrong {
        Wrong::Backend(err)
    }
}

impl View {
    pub fn new(backend: Arc<dyn backends::State>) -> View {
        View { backend, own: BTreeMap::new(), reads: Vec::new(), reads_bytes: 0, values_bytes: 0 }
    }

    fn note(&mut self, read: Read) {
        if !self.reads.contains(&read) {
            self.reads_bytes += read.bytes();
            self.reads.push(read);
        }
    }

    pub fn into_reads(self) -> Vec<Read> {
        self.reads
    }

    async fn get(&mut self, key: String) -> Result<Option<Vec<u8>>, Wrong> {
        let added = match self.own.get(&key) {
            Some(Own::Value(value)) => return Ok(Some(value.to_vec())),
            Some(Own::Deleted) => return Ok(None),
            Some(Own::Added(added)) => Some(*added),
            None => None,
        };
        let (value, version) = self.backend.get(&key).await?.unzip();
        self.values_bytes += value.as_ref().map_or(0, Vec::len) as u64;
        let value = match added {
            Some(added) => Some(sum(&key, value.as_deref(), added)?),
            None => value,
        };
        self.note(Read::Key { key, version });
        Ok(value)
    }

    fn set(&mut self, key: String, value: Bytes) {
        self.own.insert(key, Own::Value(value));
    }

    fn delete(&mut self, key: String) {
        self.own.insert(key, Own::Deleted);
    }

    fn increment(&mut self, key: String, by: i64) -> Result<(), String> {
        let own = match self.own.get(&key) {
            Some(Own::Value(value)) => Own::Value(sum(&key, Some(value), by)?.into()),
            Some(Own::Deleted) => Own::Value(by.to_string().into()),
            Some(Own::Added(added)) => {
                Own::Added(added.checked_add(by).ok_or_else(|| format!("the increments of {key:?} are too large"))?)
            }
            None => Own::Added(by),
        };
        self.own.insert(key, own);
        Ok(())
    }

    /// Reads pages of the backend until enough entries are left after the run's own deletions.
    async fn list(&mut self, prefix: &str, after: Option<String>) -> Result<Vec<(String, Vec<u8>)>, Wrong> {
        let mut found = Vec::new();
        let mut cursor = after;
        loop {
            let page = self.backend.list(prefix, cursor.as_deref(), LIST_MAX as u32).await?;
            self.values_bytes += page.iter().map(|(_, value, _)| value.len() as u64).sum::<u64>();
            let last = (page.len() == LIST_MAX).then(|| page[LIST_MAX - 1].0.clone());
            self.note(Read::List {
                prefix: prefix.into(),
                after: cursor.clone(),
                limit: LIST_MAX as u32,
                seen: page.iter().map(|(key, _, version)| (key.clone(), version.clone())).collect(),
            });
            let mut entries: BTreeMap<String, Vec<u8>> = page.into_iter().map(|(key, value, _)| (key, value)).collect();
            for (key, own) in self.own_within(prefix, cursor.as_deref(), last.as_deref()) {
                match own {
                    Own::Value(value) => {
                        entries.insert(key.clone(), value.to_vec());
                    }
                    Own::Deleted => {
                        entries.remove(key);
                    }
                    Own::Added(added) => {
                        let value = sum(key, entries.get(key).map(Vec::as_slice), *added)?;
                        entries.insert(key.clone(), value);
                    }
                }
            }
            found.extend(entries);
            found.truncate(LIST_MAX);
            // Whoever asked is stopped when it has read too much.
            if found.len() == LIST_MAX || last.is_none() || self.values_bytes > VALUES_BYTES_MAX {
                return Ok(found);
            }
            cursor = last;
        }
    }

    /// Own changes of keys behind `after` up to `last`, or without end.
    fn own_within<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        last: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a String, &'a Own)> {
        // A cursor before the prefix is no bound at all, and a page whose keys all lie behind is empty.
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.own
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix) && last.is_none_or(|last| key.as_str() <= last))
    }
}

/// A whole number and what is added to it, as text.
fn sum(key: &str, value: Option<&[u8]>, by: i64) -> Result<Vec<u8>, String> {
    let number = match value {
        None => 0,
        Some(value) => whole_number(value).ok_or_else(|| format!("the value of {key:?} is not a whole number"))?,
    };
    let sum = number.checked_add(by).ok_or_else(|| format!("the value of {key:?} would be too large"))?;
    Ok(sum.to_string().into_bytes())
}

impl From<String> for Wrong {
    fn from(text: String) -> Wrong {
        Wrong::Guest(text)
    }
}

/// The guest hears what it did wrong; a backend's failure ends the run.
fn answer<T>(result: Result<T, Wrong>) -> wasmtime::Result<Result<T, String>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Wrong::Guest(text)) => Ok(Err(text)),
        Err(Wrong::Backend(err)) => Err(HostFault(format!("state: {err}")).into()),
    }
}

impl Host {
    /// What was read so far, and what the reads depended on, is not too much.
    fn admit_reads(&self) -> wasmtime::Result<()> {
        if self.state.values_bytes > VALUES_BYTES_MAX {
            return Err(self.over(LimitKind::HostResources, VALUES_BYTES_MAX, self.state.values_bytes));
        }
        if self.state.reads_bytes > READS_BYTES_MAX {
            return Err(self.over(LimitKind::HostResources, READS_BYTES_MAX, self.state.reads_bytes));
        }
        Ok(())
    }
}

impl wit::Host for Host {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, String>> {
        if let Err(wrong) = self.check_key(&key) {
            return Ok(Err(wrong));
        }
        self.admit_question()?;
        let value = self.state.get(key).await;
        self.admit_reads()?;
        answer(value)
    }

    async fn set(&mut self, key: String, value: Vec<u8>) -> wasmtime::Result<Result<(), String>> {
        if let Err(wrong) = self.check_key(&key).and_then(|()| check_value("value", &value)) {
            return Ok(Err(wrong));
        }
        self.admit_effect(key.len() + value.len())?;
        let value = Bytes::from(value);
        self.state.set(key.clone(), value.clone());
        self.effects.push(Effect::SetState { key, value });
        Ok(Ok(()))
    }

    async fn delete(&mut self, key: String) -> wasmtime::Result<Result<(), String>> {
        if let Err(wrong) = self.check_key(&key) {
            return Ok(Err(wrong));
        }
        self.admit_effect(key.len())?;
        self.state.delete(key.clone());
        self.effects.push(Effect::DeleteState { key });
        Ok(Ok(()))
    }

    async fn increment(&mut self, key: String, by: String) -> wasmtime::Result<Result<(), String>> {
        if let Err(wrong) = self.check_key(&key) {
            return Ok(Err(wrong));
        }
        let Some(by) = whole_number(by.as_bytes()) else {
            return Ok(Err(format!("{by:?} is not a whole number of at most 64 bits")));
        };
        if let Err(wrong) = self.state.increment(key.clone(), by) {
            return Ok(Err(wrong));
        }
        self.admit_effect(key.len())?;
        self.effects.push(Effect::IncrementState { key, by });
        Ok(Ok(()))
    }

    async fn list(
        &mut self,
        prefix: String,
        after: Option<String>,
    ) -> wasmtime::Result<Result<Vec<wit::Entry>, String>> {
        if let Err(wrong) = (self.grants.allow_state())
            .and_then(|()| check_length("prefix", &prefix, 0))
            .and_then(|()| after.as_ref().map_or(Ok(()), |after| check_length("after", after, 0)))
        {
            return Ok(Err(wrong));
        }
        self.admit_question()?;
        let entries = self.state.list(&prefix, after).await;
        self.admit_reads()?;
        answer(entries.map(|entries| entries.into_iter().map(|(key, value)| wit::Entry { key, value }).collect()))
    }
}

impl Host {
    fn check_key(&self, key: &str) -> Result<(), String> {
        self.grants.allow_state()?;
        check_length("key", key, 1)
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use larder_model::state::Version;

    use super::*;

    struct Rows(BTreeMap<String, (Vec<u8>, Version)>);

    #[async_trait]
    impl backends::State for Rows {
        async fn get(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, backends::Error> {
            Ok(self.0.get(key).cloned())
        }

        async fn list(
            &self,
            prefix: &str,
            after: Option<&str>,
            limit: u32,
        ) -> Result<Vec<(String, Vec<u8>, Version)>, backends::Error> {
            let behind = |key: &str| key.starts_with(prefix) && after.is_none_or(|after| key > after);
            let rows = self.0.iter().filter(|(key, _)| behind(key)).take(limit as usize);
            Ok(rows.map(|(key, (value, version))| (key.clone(), value.clone(), version.clone())).collect())
        }
    }

    fn view(rows: &[(&str, &str)]) -> View {
        let rows = rows.iter().map(|(key, value)| ((*key).into(), ((*value).into(), format!("v-{key}"))));
        View::new(Arc::new(Rows(rows.collect())))
    }

    async fn get(view: &mut View, key: &str) -> Option<String> {
        view.get(key.into()).await.unwrap().map(|value| String::from_utf8(value).unwrap())
    }

    async fn list(view: &mut View, prefix: &str, after: Option<&str>) -> Vec<String> {
        let entries = view.list(prefix, after.map(Into::into)).await.unwrap();
        entries.into_iter().map(|(key, value)| format!("{key}={}", String::from_utf8(value).unwrap())).collect()
    }

    #[tokio::test]
    async fn own_writes_are_read_without_a_dependency() {
        let mut view = view(&[("a", "1")]);
        view.set("a".into(), Bytes::from_static(b"2"));
        view.delete("b".into());
        assert_eq!(get(&mut view, "a").await.as_deref(), Some("2"));
        assert_eq!(get(&mut view, "b").await, None);
        view.increment("a".into(), 5).unwrap();
        view.increment("b".into(), -3).unwrap();
        assert_eq!(get(&mut view, "a").await.as_deref(), Some("7"));
        assert_eq!(get(&mut view, "b").await.as_deref(), Some("-3"));
        assert_eq!(view.into_reads(), []);
    }

    #[tokio::test]
    async fn backend_reads_are_recorded_once_with_their_version() {
        let mut view = view(&[("a", "1")]);
        for _ in 0..2 {
            assert_eq!(get(&mut view, "a").await.as_deref(), Some("1"));
            assert_eq!(get(&mut view, "none").await, None);
        }
        assert_eq!(
            view.into_reads(),
            [
                Read::Key { key: "a".into(), version: Some("v-a".into()) },
                Read::Key { key: "none".into(), version: None }
            ]
        );
    }

    #[tokio::test]
    async fn increment_reads_nothing_until_the_value_is_read() {
        let mut view = view(&[("n", "40"), ("text", "x")]);
        view.increment("n".into(), 1).unwrap();
        view.increment("n".into(), 1).unwrap();
        view.increment("text".into(), 1).unwrap();
        assert_eq!(view.reads, []);
        assert_eq!(get(&mut view, "n").await.as_deref(), Some("42"));
        assert_eq!(view.reads, [Read::Key { key: "n".into(), version: Some("v-n".into()) }]);
        assert!(matches!(view.get("text".into()).await, Err(Wrong::Guest(text)) if text.contains("whole number")));
    }

    #[tokio::test]
    async fn increment_of_text_or_beyond_64_bits_is_refused() {
        let mut view = view(&[]);
        view.set("a".into(), Bytes::from_static(b"1.5"));
        assert!(view.increment("a".into(), 1).unwrap_err().contains("whole number"));
        view.set("b".into(), i64::MAX.to_string().into());
        assert!(view.increment("b".into(), 1).unwrap_err().contains("too large"));
        assert_eq!(get(&mut view, "b").await, Some(i64::MAX.to_string()));
    }

    #[test]
    fn whole_numbers_are_decimal_text_of_64_bits() {
        for (text, number) in [("0", 0), ("-0", 0), ("007", 7), ("-7", -7), ("-9223372036854775808", i64::MIN)] {
            assert_eq!(whole_number(text.as_bytes()), Some(number), "{text}");
        }
        for text in
            ["", "+5", " 5", "5 ", "5.0", "1e3", "0x1", "9223372036854775808", "000000000000000000005", "\u{663}"]
        {
            assert_eq!(whole_number(text.as_bytes()), None, "{text}");
        }
        assert_eq!(whole_number(&[0xff]), None);
    }

    #[tokio::test]
    async fn list_includes_own_writes() {
        let mut view = view(&[("k1", "1"), ("k2", "2"), ("k3", "3"), ("other", "9")]);
        view.set("k0".into(), Bytes::from_static(b"new"));
        view.delete("k2".into());
        view.increment("k3".into(), 10).unwrap();
        view.increment("k4".into(), 4).unwrap();
        view.set("z".into(), Bytes::from_static(b"not asked for"));
        assert_eq!(list(&mut view, "k", None).await, ["k0=new", "k1=1", "k3=13", "k4=4"]);
        assert_eq!(list(&mut view, "k", Some("k1")).await, ["k3=13", "k4=4"]);
        assert_eq!(list(&mut view, "k", Some("a")).await.len(), 4);
        assert_eq!(list(&mut view, "k", Some("x")).await, Vec::<String>::new());
        let Read::List { seen, limit: 100, .. } = &view.reads[0] else { panic!("{:?}", view.reads[0]) };
        assert_eq!(seen.len(), 3);
    }

    #[tokio::test]
    async fn list_continues_after_own_deletions() {
        let rows: Vec<(String, String)> = (0..250).map(|n| (format!("k{n:03}"), n.to_string())).collect();
        let rows: Vec<(&str, &str)> = rows.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let mut view = view(&rows);
        for n in 0..120 {
            view.delete(format!("k{n:03}"));
        }
        let found = list(&mut view, "k", None).await;
        assert_eq!(found.len(), 100);
        assert_eq!((found[0].as_str(), found[99].as_str()), ("k120=120", "k219=219"));
        assert_eq!(view.reads.len(), 3);
    }
}
