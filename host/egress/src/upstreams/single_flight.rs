//! Coalesces concurrent identical requests.
//!
//! The first caller is the leader and sends the request; the followers wait for the result that it shares. If the leader is
//! dropped without a result (its function was stopped), the followers try again and the next of them leads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use larder_model::ids::PartnerId;
use tokio::sync::watch;

use crate::upstreams::Error;
use crate::upstreams::cache::{CachedResponse, Key};

/// The result that a leader shares.
#[derive(Clone)]
pub enum Shared {
    /// A response that the followers may use.
    Response(Arc<CachedResponse>),
    /// The response is for the leader alone: each follower sends its own request.
    NotShareable,
    /// The leader's failure. It counts only for the same tenant, because each tenant has its own breaker.
    Failed(PartnerId, Error),
}

type Waiting = HashMap<Key, watch::Receiver<Option<Shared>>>;

/// The requests in progress.
#[derive(Clone, Default)]
pub struct SingleFlight(Arc<Mutex<Waiting>>);

/// The role of a caller.
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
        // There may be no follower.
        let _ = self.sender.send(Some(shared));
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.single_flight.0.lock().expect("no panic under the lock").remove(&self.key);
    }
}

impl Follower {
    /// Waits for the result; `None` if the leader was dropped without one.
    pub async fn shared(mut self) -> Option<Shared> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|shared| shared.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_next_caller_leads_after_the_leader_is_dropped() {
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
