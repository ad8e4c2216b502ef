//! What runs of one function read at the same moment is read by one statement.
//!
//! A read that finds less than [`AT_ONCE`] others in progress is made at once. The others wait until one of these ends, and
//! are then read together. So a function that is called once reads as fast as before, and one that is called a hundred times at
//! once makes few statements more.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Mutex;

use futures::FutureExt;
use futures::future::BoxFuture;
use larder_model::ids::EnrolmentId;
use larder_model::state::Version;
use larder_store::Store;
use larder_store::state::Scope;
use tokio::sync::{Semaphore, oneshot};

/// Statements of one function and kind in progress.
const AT_ONCE: usize = 2;
/// Keys of one statement.
const TOGETHER_MAX: usize = 64;

/// The reads of one function's runs.
#[derive(Default)]
pub struct Reads {
    /// By enrolment and key.
    state: Together<(Option<EnrolmentId>, String), (Vec<u8>, Version)>,
    /// By end user.
    savers: Together<String, ()>,
}

impl Reads {
    /// The value of a key of the state. `scope` is one of this function's.
    pub async fn state(&self, store: &Store, scope: &Scope, key: &str) -> Result<Option<(Vec<u8>, Version)>, String> {
        let place = (scope.enrolment.clone(), key.to_owned());
        let read = |keys| store.get_states(&scope.partner, &scope.function, keys).boxed();
        self.state.read(place, &read).await
    }

    /// Is this end user enrolled in the function of `scope`, with any topic?
    pub async fn is_enrolled(&self, store: &Store, scope: &Scope, end_user: &str) -> Result<bool, String> {
        let read = |users| store.enrolled(&scope.partner, &scope.function, users).boxed();
        Ok(self.savers.read(end_user.to_owned(), &read).await?.is_some())
    }
}

/// Reads of one kind.
struct Together<K, V> {
    waiting: Mutex<Vec<Waiting<K, V>>>,
    turns: Semaphore,
}

/// A key that somebody waits for.
type Waiting<K, V> = (K, oneshot::Sender<Result<Option<V>, String>>);

/// Finds the values of several keys in one statement.
type Read<'a, K, V> = dyn Fn(Vec<K>) -> BoxFuture<'a, larder_store::Result<HashMap<K, V>>> + Sync + 'a;

impl<K, V> Default for Together<K, V> {
    fn default() -> Together<K, V> {
        Together { waiting: Mutex::default(), turns: Semaphore::new(AT_ONCE) }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Together<K, V> {
    /// The value of `key`; `read` finds the values of several keys. It begins after this was called, so the value is not older.
    async fn read(&self, key: K, read: &Read<'_, K, V>) -> Result<Option<V>, String> {
        loop {
            let (sender, receiver) = oneshot::channel();
            self.waiting.lock().expect("no panic under the lock").push((key.clone(), sender));
            if let Some(answer) = self.answer(receiver, read).await {
                return answer;
            }
        }
    }

    /// Waits for an answer and reads for others meanwhile. `None`: whoever was reading it has gone away.
    async fn answer(
        &self,
        mut receiver: oneshot::Receiver<Result<Option<V>, String>>,
        read: &Read<'_, K, V>,
    ) -> Option<Result<Option<V>, String>> {
        loop {
            let turn = tokio::select! {
                biased;
                answer = &mut receiver => return answer.ok(),
                turn = self.turns.acquire() => turn.expect("never closed"),
            };
            let batch: Vec<Waiting<K, V>> = {
                let mut waiting = self.waiting.lock().expect("no panic under the lock");
                let number = waiting.len().min(TOGETHER_MAX);
                waiting.drain(..number).collect()
            };
            if batch.is_empty() {
                // The other turn has it.
                drop(turn);
                return receiver.await.ok();
            }
            let keys: HashSet<K> = batch.iter().map(|(key, _)| key.clone()).collect();
            let found = read(keys.into_iter().collect()).await.map_err(|err| err.to_string());
            drop(turn);
            for (key, waiter) in batch {
                let _ = waiter.send(found.as_ref().map(|found| found.get(&key).cloned()).map_err(Clone::clone));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;

    use super::*;

    /// A database that finds even numbers, as long as it is open.
    struct Database {
        statements: AtomicUsize,
        open: Semaphore,
    }

    impl Database {
        fn open(permits: usize) -> Database {
            Database { statements: AtomicUsize::new(0), open: Semaphore::new(permits) }
        }

        async fn read(&self, reads: &Together<u32, String>, key: u32) -> Result<Option<String>, String> {
            let fetch = |keys: Vec<u32>| {
                async move {
                    self.statements.fetch_add(1, Ordering::Relaxed);
                    assert!(keys.len() <= TOGETHER_MAX);
                    self.open.acquire().await.expect("never closed").forget();
                    tokio::task::yield_now().await;
                    if keys.contains(&999) {
                        return Err(larder_store::Error::Unavailable("gone".into()));
                    }
                    Ok(keys.into_iter().filter(|key| key % 2 == 0).map(|key| (key, key.to_string())).collect())
                }
                .boxed()
            };
            reads.read(key, &fetch).await
        }
    }

    #[tokio::test]
    async fn reads_of_the_same_moment_are_few_statements_and_each_has_its_own_answer() {
        let (reads, database) = (Together::default(), Database::open(1_000));
        assert_eq!(database.read(&reads, 4).await, Ok(Some("4".into())));
        assert_eq!(database.statements.load(Ordering::Relaxed), 1);
        let all = join_all((0..200).map(|n| database.read(&reads, n % 150))).await;
        for (n, answer) in all.into_iter().enumerate() {
            let key = n % 150;
            assert_eq!(answer, Ok((key % 2 == 0).then(|| key.to_string())), "{key}");
        }
        let number = database.statements.load(Ordering::Relaxed);
        assert!(number <= 8, "{number} statements");
    }

    #[tokio::test]
    async fn an_error_reaches_those_who_asked_and_nobody_later() {
        let (reads, database) = (Together::default(), Database::open(10));
        assert!(database.read(&reads, 999).await.unwrap_err().contains("gone"));
        assert_eq!(database.read(&reads, 6).await, Ok(Some("6".into())));
    }

    #[tokio::test]
    async fn who_goes_away_while_reading_leaves_others_their_answers() {
        let (reads, database) = (Together::default(), Database::open(1));
        let mut patient = pin!(database.read(&reads, 8));
        // One statement of a single key ends, and the next reads for all, the patient one's among them. Then those go away.
        tokio::select! {
            biased;
            _ = join_all((0..40).map(|n| database.read(&reads, n))) => panic!("the database is closed"),
            _ = &mut patient => panic!("the database is closed"),
            () = async { for _ in 0..20 { tokio::task::yield_now().await } } => {}
        }
        assert_eq!(database.statements.load(Ordering::Relaxed), 3);
        database.open.add_permits(10);
        assert_eq!(patient.await, Ok(Some("8".into())));
    }
}
