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
pub enum Word {
    /// An answer that the others may use.
    Shared(Arc<Kept>),
    /// An answer for the leader alone: ask yourself.
    Alone,
    /// Its own failure: another partner's breaker may be of another mind.
    Failed(PartnerId, Error),
}

type Waiting = HashMap<Key, watch::Receiver<Option<Word>>>;

#[derive(Clone, Default)]
pub struct Flights(Arc<Mutex<Waiting>>);

pub enum Flight {
    Lead(Lead),
    Follow(Follow),
}

pub struct Lead {
    flights: Flights,
    key: Key,
    word: watch::Sender<Option<Word>>,
}

pub struct Follow(watch::Receiver<Option<Word>>);

impl Flights {
    pub fn join(&self, key: Key) -> Flight {
        let mut waiting = self.0.lock().expect("no panic under the lock");
        if let Some(word) = waiting.get(&key) {
            return Flight::Follow(Follow(word.clone()));
        }
        let (word, listen) = watch::channel(None);
        waiting.insert(key, listen);
        Flight::Lead(Lead { flights: self.clone(), key, word })
    }
}

impl Lead {
    pub fn tell(self, word: Word) {
        // Nobody may wait.
        let _ = self.word.send(Some(word));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.flights.0.lock().expect("no panic under the lock").remove(&self.key);
    }
}

impl Follow {
    /// `None`: the leader ended without a word.
    pub async fn word(mut self) -> Option<Word> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|word| word.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_leads_and_the_next_does_when_it_is_gone() {
        let flights = Flights::default();
        let key: Key = ([1; 32], [2; 32]);
        let Flight::Lead(lead) = flights.join(key) else { panic!("nobody was there before") };
        let Flight::Follow(first) = flights.join(key) else { panic!("there is a leader") };
        let Flight::Follow(second) = flights.join(key) else { panic!("there is a leader") };
        assert!(matches!(flights.join(([1; 32], [3; 32])), Flight::Lead(_)));
        drop(lead);
        assert!(first.word().await.is_none());
        let Flight::Lead(lead) = flights.join(key) else { panic!("the leader is gone") };
        assert!(second.word().await.is_none());
        let Flight::Follow(third) = flights.join(key) else { panic!("there is a leader again") };
        lead.tell(Word::Alone);
        assert!(matches!(third.word().await, Some(Word::Alone)));
        assert!(flights.0.lock().unwrap().is_empty());
    }
}
