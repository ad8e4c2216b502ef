//! The connection pool: limits open connections and reuses idle ones.
//!
//! An idle connection is reused only for the same tenant, destination and networks. It is not polled while it is idle: whether
//! its server has closed it is checked when it is taken from the pool.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Context;
use std::time::{Duration, Instant};

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use larder_model::ids::PartnerId;
use larder_model::outgoing::{Body, Error};
use metrics::gauge;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Destination;

pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// An HTTP/1.1 connection. Dropping it closes it.
pub struct Connection {
    pub sender: http1::SendRequest<Body>,
    driver: http1::Connection<TokioIo<Box<dyn Transport>>, Body>,
    /// The driver has finished, and with it the connection.
    closed: bool,
    _slot: Slot,
}

impl Connection {
    pub fn new(
        sender: http1::SendRequest<Body>,
        driver: http1::Connection<TokioIo<Box<dyn Transport>>, Body>,
        slot: Slot,
    ) -> Connection {
        Connection { sender, driver, closed: false, _slot: slot }
    }

    /// Polls the connection. Its errors surface in the response.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.closed {
            self.closed = Pin::new(&mut self.driver).poll(cx).is_ready();
        }
    }

    /// Is the last call complete, so that the next can start?
    pub fn is_free(&self) -> bool {
        !self.closed && self.sender.is_ready()
    }
}

/// The tenant and destination of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub partner: PartnerId,
    pub to: Destination,
}

/// The open connections of the process.
pub struct Pool {
    open_max: usize,
    open_per_partner: usize,
    idle_timeout: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: usize,
    open_of: HashMap<PartnerId, usize>,
    /// The most recently used connection is last.
    idle: HashMap<Key, Vec<(Instant, Connection)>>,
}

/// The right to one open connection.
pub struct Slot {
    pool: Arc<Pool>,
    partner: PartnerId,
}

impl Pool {
    pub fn new(open_max: usize, open_per_partner: usize, idle_timeout: Duration) -> Arc<Pool> {
        Arc::new(Pool { open_max, open_per_partner, idle_timeout, state: Mutex::default() })
    }

    /// Takes an idle connection that is still open.
    pub fn take(&self, key: &Key) -> Option<Connection> {
        loop {
            let (since, mut connection) = {
                let mut state = self.state();
                let waiting = state.idle.get_mut(key)?;
                let last = waiting.pop();
                if waiting.is_empty() {
                    state.idle.remove(key);
                }
                last?
            };
            connection.drive(&mut Context::from_waker(std::task::Waker::noop()));
            if since.elapsed() < self.idle_timeout && connection.is_free() {
                return Some(connection);
            }
        }
    }

    /// Returns a connection to the pool.
    pub fn put(&self, key: Key, connection: Connection) {
        self.state().idle.entry(key).or_default().push((Instant::now(), connection));
    }

    /// Reserves a slot for one more connection. If a limit is reached, an idle connection is closed, the tenant's own first.
    pub fn admit(self: &Arc<Pool>, partner: &PartnerId) -> Result<Slot, Error> {
        loop {
            let victim = {
                let mut state = self.state();
                let own = state.open_of.get(partner).copied().unwrap_or_default();
                if own < self.open_per_partner && state.open < self.open_max {
                    state.open += 1;
                    *state.open_of.entry(partner.clone()).or_default() += 1;
                    gauge!("larder_egress_connections").set(state.open as f64);
                    return Ok(Slot { pool: self.clone(), partner: partner.clone() });
                }
                let whose = (own >= self.open_per_partner).then_some(partner);
                let Some(victim) = state.oldest(whose) else {
                    return Err(Error::Crowded(match whose {
                        Some(_) => format!(
                            "{own} connections of the partner are in use, the most it may have in this process \
                             (egress.connections_per_partner)"
                        ),
                        None => format!("{} connections are in use (egress.connections_max)", state.open),
                    }));
                };
                victim
            };
            // Outside of the lock, because dropping its slot takes the lock.
            drop(victim);
        }
    }

    /// Closes connections that have been idle for at least `age`.
    pub fn sweep(&self, age: Duration) {
        let mut old = Vec::new();
        self.state().idle.retain(|_, waiting| {
            old.extend(waiting.extract_if(.., |(since, _)| since.elapsed() >= age));
            !waiting.is_empty()
        });
    }

    pub fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn oldest(&mut self, of: Option<&PartnerId>) -> Option<Connection> {
        let waiting = self.idle.iter().filter(|(key, _)| of.is_none_or(|partner| key.partner == *partner));
        let (_, key) = waiting
            .filter_map(|(key, waiting)| Some((waiting.first()?.0, key.clone())))
            .min_by_key(|(since, _)| *since)?;
        let waiting = self.idle.get_mut(&key)?;
        let (_, connection) = waiting.remove(0);
        if waiting.is_empty() {
            self.idle.remove(&key);
        }
        Some(connection)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        state.open -= 1;
        gauge!("larder_egress_connections").set(state.open as f64);
        if let Some(own) = state.open_of.get_mut(&self.partner) {
            *own -= 1;
            if *own == 0 {
                state.open_of.remove(&self.partner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_bounded_for_one_partner_and_for_all() {
        let pool = Pool::new(3, 2, Duration::from_secs(1));
        let (one, other): (PartnerId, PartnerId) = ("one".parse().unwrap(), "other".parse().unwrap());
        let refused = |partner: &PartnerId| pool.admit(partner).err().map(|err| err.to_string()).unwrap_or_default();
        let first = pool.admit(&one).unwrap();
        let _second = pool.admit(&one).unwrap();
        assert!(refused(&one).contains("egress.connections_per_partner"));
        let _third = pool.admit(&other).unwrap();
        assert!(refused(&other).contains("egress.connections_max"));
        drop(first);
        let _fourth = pool.admit(&other).unwrap();
        assert!(refused(&one).contains("egress.connections_max"));
    }
}
