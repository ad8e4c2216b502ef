//! The same question at the same time is asked once.
//!
//! Whoever comes first leads and asks; the others wait for what it tells. A leader that ends without a word (its function
//! was stopped) lets the others try again, and the next of them leads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use larder_model::ids::PartnerId;
use tokio::sync::watch;

use crate::upstreams::Error;
use crate::upstreams::cache::{Kept, Key};

/// What a leader tells.
#[derive(Clone)]
pub enum Shared {
    /// An answer that the others may use.
    Response(Arc<Kept>),
    /// An answer for the leader alone: ask yourself.
    NotShareable,
    /// Its own failure: another partner's breaker may be of another mind.
    Failed(PartnerId, Error),
}

type Waiting = HashMap<Key, watch::Receiver<Option<Shared>>>;

#[derive(Clone, Default)]
pub struct SingleFlight(Arc<Mutex<Waiting>>);

pub enum Call {
    Leader(Leader),
    Follower(Follower),
}

pub struct Leader {
    single_flight: SingleFlight,
    key: Key,
    sender: watch::Sender<Option<Shared>>,
}

pub struct Follower(watch::Receiver<Option<Shared>>);

impl SingleFlight {
    pub fn join(&self, key: Key) -> Call {
        let mut waiting = self.0.lock().expect("no panic under the lock");
        if let Some(receiver) = waiting.get(&key) {
            return Call::Follower(Follower(receiver.clone()));
        }
        let (sender, receiver) = watch::channel(None);
        waiting.insert(key, receiver);
        Call::Leader(Leader { single_flight: self.clone(), key, sender })
    }
}

impl Leader {
    pub fn share(self, shared: Shared) {
        // Nobody may wait.
        let _ = self.sender.send(Some(shared));
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.single_flight.0.lock().expect("no panic under the lock").remove(&self.key);
    }
}

impl Follower {
    /// `None`: the leader ended without a word.
    pub async fn shared(mut self) -> Option<Shared> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|shared| shared.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_leads_and_the_next_does_when_it_is_gone() {
        let single_flight = SingleFlight::default();
        let key: Key = ([1; 32], [2; 32]);
        let Call::Leader(leader) = single_flight.join(key) else { panic!("nobody was there before") };
        let Call::Follower(first) = single_flight.join(key) else { panic!("there is a leader") };
        let Call::Follower(second) = single_flight.join(key) else { panic!("there is a leader") };
        assert!(matches!(single_flight.join(([1; 32], [3; 32])), Call::Leader(_)));
        drop(leader);
        assert!(first.shared().await.is_none());
        let Call::Leader(leader) = single_flight.join(key) else { panic!("the leader is gone") };
        assert!(second.shared().await.is_none());
        let Call::Follower(third) = single_flight.join(key) else { panic!("there is a leader again") };
        leader.share(Shared::NotShareable);
        assert!(matches!(third.shared().await, Some(Shared::NotShareable)));
        assert!(single_flight.0.lock().unwrap().is_empty());
    }
}
