//! A TCP proxy between Larder and a service, which breaks what passes in ways that a network and a dying server do.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::services::free_port;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Connections are closed as they come.
    Refuse,
    /// What comes is swallowed, both ways: nobody is told anything. Such connections are cut when this ends.
    Stall,
}

pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    target: SocketAddr,
    /// The mode, and how often all connections were cut.
    state: watch::Sender<(Mode, u32)>,
    commits_to_drop: AtomicU32,
    commits_dropped: AtomicU32,
    /// What becomes of the next COMMIT, and of everything after it.
    last_commit: Mutex<Option<LastCommit>>,
}

/// How the COMMIT fares after which nothing passes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastCommit {
    /// It is done, and its answer lost.
    Done,
    /// It never arrives, so it is not done.
    Lost,
    /// It is done and answered.
    Answered,
}

impl Proxy {
    /// In front of a server on this machine.
    pub async fn start(target_port: u16) -> Proxy {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a port");
        let shared = Arc::new(Shared {
            target: ([127, 0, 0, 1], target_port).into(),
            state: watch::Sender::new((Mode::Pass, 0)),
            commits_to_drop: AtomicU32::new(0),
            commits_dropped: AtomicU32::new(0),
            last_commit: Mutex::default(),
        });
        let accepting = tokio::spawn({
            let shared = shared.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(shared.clone().serve(client));
                }
            }
        });
        Proxy { port, shared, accepting }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn set(&self, mode: Mode) {
        self.shared.state.send_modify(|state| state.0 = mode);
    }

    /// Cuts all connections; new ones are served.
    pub fn cut(&self) {
        self.shared.state.send_modify(|state| state.1 += 1);
    }

    /// Lets the next `count` COMMITs through to MariaDB, swallows what it answers and cuts the connection: the client
    /// cannot know what became of its transaction.
    pub fn drop_commit_answers(&self, count: u32) {
        self.shared.commits_to_drop.store(count, Ordering::SeqCst);
    }

    /// Refuses everything after the next COMMIT, until the mode is set again.
    pub fn refuse_after(&self, commit: LastCommit) {
        *self.shared.last_commit.lock().expect("no panic under the lock") = Some(commit);
    }

    /// Waits until that COMMIT has come.
    pub async fn refuses(&self) {
        let mut state = self.shared.state.subscribe();
        state.wait_for(|(mode, _)| *mode == Mode::Refuse).await.expect("it lives");
    }

    /// COMMITs whose answer was dropped although they were done, so far.
    pub fn commits_dropped(&self) -> u32 {
        self.shared.commits_dropped.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Shared {
    async fn serve(self: Arc<Self>, mut client: TcpStream) {
        let mut state = self.state.subscribe();
        let (mode, cuts) = *state.borrow_and_update();
        if mode == Mode::Refuse {
            return;
        }
        let Ok(mut server) = TcpStream::connect(self.target).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (mut asked, mut said) = (vec![0; 64 << 10], vec![0; 64 << 10]);
        let mut packets = Packets::default();
        let mut swallowed = false;
        loop {
            let stalled = state.borrow().0 == Mode::Stall;
            tokio::select! {
                read = client.read(&mut asked) => {
                    let Some(bytes) = some(&asked, read) else { return };
                    if stalled {
                        swallowed = true;
                        continue;
                    }
                    let is_commit = packets.commits(bytes);
                    if is_commit && let Some(last) = self.take_last_commit() {
                        return self.end_with(last, bytes, &mut server, &mut client).await;
                    }
                    let commits = is_commit && self.take_commit();
                    if server.write_all(bytes).await.is_err() {
                        return;
                    }
                    if commits {
                        let answer = tokio::time::timeout(Duration::from_secs(10), server.read(&mut said)).await;
                        // Behind the header of its packet, 0 is OK.
                        if answer.is_ok_and(|read| some(&said, read).is_some_and(|bytes| bytes.get(4) == Some(&0))) {
                            self.commits_dropped.fetch_add(1, Ordering::SeqCst);
                        }
                        return;
                    }
                }
                read = server.read(&mut said) => {
                    let Some(bytes) = some(&said, read) else { return };
                    if stalled {
                        swallowed = true;
                    } else if client.write_all(bytes).await.is_err() {
                        return;
                    }
                }
                changed = state.changed() => {
                    let (mode, now) = *state.borrow_and_update();
                    if changed.is_err() || now != cuts || mode == Mode::Refuse || (mode == Mode::Pass && swallowed) {
                        return;
                    }
                }
            }
        }
    }

    async fn end_with(&self, last: LastCommit, commit: &[u8], server: &mut TcpStream, client: &mut TcpStream) {
        let mut said = vec![0; 1 << 10];
        if last != LastCommit::Lost && server.write_all(commit).await.is_ok() {
            let read = server.read(&mut said).await;
            if let (LastCommit::Answered, Some(bytes)) = (last, some(&said, read)) {
                let _ = client.write_all(bytes).await;
            }
        }
        self.state.send_modify(|state| state.0 = Mode::Refuse);
    }

    fn take_last_commit(&self) -> Option<LastCommit> {
        self.last_commit.lock().expect("no panic under the lock").take()
    }

    fn take_commit(&self) -> bool {
        self.commits_to_drop.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

/// What was read, unless the connection has ended.
fn some(buffer: &[u8], read: std::io::Result<usize>) -> Option<&[u8]> {
    read.ok().filter(|length| *length > 0).map(|length| &buffer[..length])
}

/// Follows the packets of MariaDB's protocol: three bytes of length, a number, then the payload.
#[derive(Default)]
struct Packets {
    header: Vec<u8>,
    /// Bytes of the payload that are still to come, and its beginning.
    left: usize,
    begun: Vec<u8>,
}

impl Packets {
    /// Is one of the packets that end in these bytes a query of COMMIT?
    fn commits(&mut self, bytes: &[u8]) -> bool {
        const COMMIT: &[u8] = b"\x03COMMIT";
        let mut found = false;
        for byte in bytes {
            if self.header.len() < 4 {
                self.header.push(*byte);
                if self.header.len() == 4 {
                    self.left = usize::from(self.header[0])
                        | usize::from(self.header[1]) << 8
                        | usize::from(self.header[2]) << 16;
                    self.begun.clear();
                }
            } else {
                self.left -= 1;
                if self.begun.len() <= COMMIT.len() {
                    self.begun.push(*byte);
                }
            }
            if self.header.len() == 4 && self.left == 0 {
                found |= self.begun.eq_ignore_ascii_case(COMMIT);
                self.header.clear();
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use mysql_async::prelude::Queryable;
    use mysql_async::{Conn, Opts};

    use super::*;
    use crate::services::{Database, mariadb_url};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_commit_whose_answer_is_dropped_was_done() {
        let database = Database::create().await;
        let port: u16 = mariadb_url().rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap();
        let proxy = Proxy::start(port).await;
        // Over its socket, which the driver prefers, it would go past the proxy.
        let url = format!("mysql://root@127.0.0.1:{}/{}?prefer_socket=false", proxy.port(), database.name());
        let connect = async || Conn::new(Opts::from_url(&url).unwrap()).await;
        let mut direct = database.connect().await;
        direct.query_drop("CREATE TABLE t (n INT NOT NULL PRIMARY KEY)").await.unwrap();
        let mut rows = async || direct.query_first::<u32, _>("SELECT COUNT(*) FROM t").await.unwrap().unwrap();
        for round in 0..6u32 {
            let mut connection = connect().await.unwrap();
            proxy.drop_commit_answers(round % 2);
            connection.query_drop("START TRANSACTION").await.unwrap();
            connection.exec_drop("INSERT INTO t VALUES (?)", (round,)).await.unwrap();
            let committed = connection.query_drop("commit").await;
            assert_eq!(committed.is_err(), round % 2 == 1, "round {round}: {committed:?}");
            assert_eq!(rows().await, round + 1, "it was done all the same");
        }
        assert_eq!(proxy.commits_dropped(), 3);

        let mut connection = connect().await.unwrap();
        proxy.cut();
        assert!(connection.query_drop("SELECT 1").await.is_err());
        proxy.set(Mode::Refuse);
        assert!(connect().await.is_err());
        proxy.set(Mode::Pass);
        let mut connection = connect().await.unwrap();
        proxy.set(Mode::Stall);
        let waiting = tokio::time::timeout(Duration::from_millis(300), connection.query_drop("SELECT 1")).await;
        assert!(waiting.is_err(), "it was answered");
        proxy.set(Mode::Pass);
        assert!(connect().await.unwrap().query_drop("SELECT 1").await.is_ok());
    }
}
