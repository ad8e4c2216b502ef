//! The bare embedding behind hyper, in a process of its own: `GET /hello`, `GET /raw` and `GET /cold/N` by guests, `GET /native`
//! by hyper alone, nothing else.

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::Context;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::bare::{Bare, Http};
use crate::guests::HELLO;

/// A process with this argument and a folder of [`crate::in_process::bare_files`] is such a server.
pub const ARGUMENT: &str = "__bare-server";

const COLD: &str = "/cold/";
/// Where `raw-hello` is served, here and in Larder.
pub const RAW: &str = "/raw";
/// Where no guest answers.
pub const NATIVE: &str = "/native";

/// Where the function `n` is served, here and in Larder.
pub fn path(n: u32) -> String {
    format!("{COLD}{n}")
}

struct Server {
    bare: Bare,
    folder: PathBuf,
    hello: Http,
    raw: Http,
    /// By number.
    loaded: Mutex<HashMap<String, Http>>,
}

/// Prints its address and serves until it is killed.
pub fn main(folder: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let bare = Bare::new().map_err(anyhow::Error::msg)?;
        let hello = bare.http(&folder.join("hello.cwasm")).map_err(anyhow::Error::msg)?;
        let raw = bare.http(&folder.join("raw.cwasm")).map_err(anyhow::Error::msg)?;
        let server = Arc::new(Server { bare, folder: folder.into(), hello, raw, loaded: Mutex::default() });
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let mut stdout = std::io::stdout();
        writeln!(stdout, "{}", listener.local_addr()?)?;
        stdout.flush()?;
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let server = server.clone();
            let service = service_fn(move |request| {
                let server = server.clone();
                async move { server.answer(request).await.map(|response| response.map(Full::new)) }
            });
            while connections.try_join_next().is_some() {}
            connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    })
}

impl Server {
    async fn answer(&self, request: Request<Incoming>) -> anyhow::Result<Response<Bytes>> {
        let component = match request.uri().path() {
            NATIVE => return Ok(Response::new(Bytes::from_static(HELLO))),
            RAW => self.raw.clone(),
            path => match path.strip_prefix(COLD) {
                None => self.hello.clone(),
                Some(n) => self.load(n)?,
            },
        };
        component.call(request).await.map_err(anyhow::Error::msg)
    }

    fn load(&self, n: &str) -> anyhow::Result<Http> {
        let mut loaded = self.loaded.lock().map_err(|_| anyhow::Error::msg("a load panicked"))?;
        if let Some(component) = loaded.get(n) {
            return Ok(component.clone());
        }
        let n: u32 = n.parse().context("not a number")?;
        let component = self.bare.http(&self.folder.join(format!("{n}.cwasm"))).map_err(anyhow::Error::msg)?;
        loaded.insert(n.to_string(), component.clone());
        Ok(component)
    }
}
