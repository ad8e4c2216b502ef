//! A mail server that a test scripts (RFC 5321, as far as a client needs it).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A letter, as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub to: String,
    /// Head and body, decoded from quoted-printable as a whole.
    pub text: String,
    /// What the client has signed in with (RFC 4616), in base64.
    pub signed_in: String,
    pub by_tls: bool,
}

impl Received {
    /// A line of the head.
    pub fn header(&self, name: &str) -> &str {
        self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
    }

    /// The address that the letter has.
    pub fn link(&self) -> String {
        let from = self.text.find("http://").expect("a link");
        self.text[from..].split(char::is_whitespace).next().expect("a link").to_owned()
    }
}

/// What the server says to the next letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Takes,
    /// A line such as `451 later`, for each recipient.
    Refuses(&'static str),
    /// It takes the letter, and says so after this time.
    Hesitates(Duration),
}

/// How it protects its connections.
#[derive(Clone)]
pub enum Protection {
    None,
    StartTls(TlsAcceptor),
    Tls(TlsAcceptor),
}

#[derive(Default)]
struct State {
    received: Vec<Received>,
    tried: usize,
}

pub struct Mailbox {
    port: u16,
    state: Arc<Mutex<State>>,
    mood: Arc<Mutex<Mood>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Mailbox {
    pub async fn start(protection: Protection) -> Mailbox {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (state, mood) = (Arc::<Mutex<State>>::default(), Arc::new(Mutex::new(Mood::Takes)));
        let accepting = tokio::spawn({
            let (state, mood) = (state.clone(), mood.clone());
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (state, mood, protection) = (state.clone(), mood.clone(), protection.clone());
                    tokio::spawn(async move {
                        // A client that goes away, or does not trust us, is its own affair.
                        let _ = match protection {
                            Protection::Tls(acceptor) => match acceptor.accept(stream).await {
                                Ok(stream) => speak(stream, &state, &mood, true, false, true).await.map(|_| ()),
                                Err(err) => Err(err),
                            },
                            Protection::None => speak(stream, &state, &mood, false, false, true).await.map(|_| ()),
                            Protection::StartTls(acceptor) => match speak(stream, &state, &mood, false, true, true)
                                .await
                            {
                                Ok(Some(stream)) => match acceptor.accept(stream).await {
                                    Ok(stream) => speak(stream, &state, &mood, true, false, false).await.map(|_| ()),
                                    Err(err) => Err(err),
                                },
                                other => other.map(|_| ()),
                            },
                        };
                    });
                }
            }
        });
        Mailbox { port, state, mood, accepting }
    }

    pub fn port(&self) -> String {
        self.port.to_string()
    }

    pub fn is(&self, mood: Mood) {
        *self.mood.lock().expect("nobody panics") = mood;
    }

    pub fn received(&self) -> Vec<Received> {
        self.state.lock().expect("nobody panics").received.clone()
    }

    /// How many recipients were named, taken or not.
    pub fn tried(&self) -> usize {
        self.state.lock().expect("nobody panics").tried
    }
}

/// One conversation. Returns the connection where it goes on by TLS.
async fn speak<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    state: &Mutex<State>,
    mood: &Mutex<Mood>,
    by_tls: bool,
    offers_tls: bool,
    greets: bool,
) -> std::io::Result<Option<S>> {
    let mut stream = BufReader::new(stream);
    if greets {
        stream.write_all(b"220 mail.test ready\r\n").await?;
    }
    let (mut to, mut signed_in) = (String::new(), String::new());
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        let said = match line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" if offers_tls => "250-mail.test\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n".to_owned(),
            "EHLO" => "250-mail.test\r\n250 AUTH PLAIN\r\n".to_owned(),
            "STARTTLS" if offers_tls => {
                stream.write_all(b"220 go on\r\n").await?;
                return Ok(Some(stream.into_inner()));
            }
            "AUTH" => {
                signed_in = line.rsplit(' ').next().unwrap_or_default().to_owned();
                "235 welcome\r\n".to_owned()
            }
            "MAIL" => "250 fine\r\n".to_owned(),
            "RCPT" => {
                to = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                state.lock().expect("nobody panics").tried += 1;
                match *mood.lock().expect("nobody panics") {
                    Mood::Refuses(why) => format!("{why}\r\n"),
                    _ => "250 fine\r\n".to_owned(),
                }
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                let mut text = String::new();
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).await? == 0 {
                        return Ok(None);
                    }
                    if line.trim_end() == "." {
                        break;
                    }
                    text.push_str(&line);
                }
                let received = Received { to: to.clone(), text: decoded(&text), signed_in: signed_in.clone(), by_tls };
                state.lock().expect("nobody panics").received.push(received);
                let mood = *mood.lock().expect("nobody panics");
                if let Mood::Hesitates(time) = mood {
                    tokio::time::sleep(time).await;
                }
                "250 taken\r\n".to_owned()
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(None);
            }
            _ => "250 fine\r\n".to_owned(),
        };
        stream.write_all(said.as_bytes()).await?;
    }
}

/// Quoted-printable (RFC 2045, section 6.7).
fn decoded(text: &str) -> String {
    let joined = text.replace("=\r\n", "");
    let mut bytes = Vec::new();
    let mut rest = joined.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'=').then(|| after.get(..2)).flatten();
        let code = code.and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
