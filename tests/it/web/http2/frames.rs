//! Frames as they are: a client that says anything, and the table of what is refused.

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const ACK: u8 = 1;

/// Of RFC 9113, section 7.
pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const FRAME_SIZE_ERROR: u32 = 6;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as literals that nobody has to remember.
pub fn fields(all: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| {
        assert!(text.len() < 127);
        [&[text.len() as u8][..], text.as_bytes()].concat()
    };
    all.iter().flat_map(|(name, value)| [vec![0x10], text(name), text(value)].concat()).collect()
}

pub fn asked<'a>(path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<u8> {
    let head = [(":method", "GET"), (":scheme", "http"), (":authority", "demo.localhost"), (":path", path)];
    fields(&[&head[..], more].concat())
}

pub fn ask_for(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &asked(path, &[]))
}

pub fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// Of RST_STREAM, and of GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A connection whose client is the test.
pub struct Wire(pub TcpStream);

impl Wire {
    pub async fn begin(larder: &Larder, settings: &[u8]) -> Wire {
        let mut wire = Wire(TcpStream::connect(larder.address()).await.unwrap());
        wire.say(&[PREFACE, &frame(SETTINGS, 0, 0, settings), &frame(SETTINGS, ACK, 0, &[])].concat()).await;
        wire
    }

    /// Who has seen enough closes before everything is written.
    pub async fn say(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).await;
    }

    /// `None`: the connection has ended.
    pub async fn next(&mut self) -> Option<Frame> {
        let read = async {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            self.0.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
            Some(Frame { kind: head[3], flags: head[4], stream, payload })
        };
        tokio::time::timeout(Duration::from_secs(20), read).await.expect("a frame, or the end")
    }

    /// The next frame that is one of these.
    pub async fn until(&mut self, is: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            match self.next().await {
                Some(frame) if !is(&frame) => {}
                other => return other,
            }
        }
    }
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The connection ends with this code.
    Away(u32),
    /// The stream ends with this code, and the connection goes on.
    Reset(u32),
    /// The stream is answered, with 200 or else as the first byte of the head says.
    Answer(bool),
}

use Then::{Answer, Away, Reset};

/// Where RFC 9113 has a code of its own, the library may say PROTOCOL_ERROR.
fn table() -> Vec<(&'static str, Vec<u8>, Then)> {
    let headers = |more: &[(&str, &str)]| frame(HEADERS, END_STREAM | END_HEADERS, 1, &asked("/hostile/told", more));
    let only = |all: &[(&str, &str)]| frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields(all));
    let open = |more: &[(&str, &str)]| frame(HEADERS, END_HEADERS, 1, &asked("/hostile/told", more));
    let (method, scheme) = ((":method", "GET"), (":scheme", "http"));
    let (authority, path) = ((":authority", "demo.localhost"), (":path", "/hostile/told"));
    vec![
        // Frames where they do not belong.
        ("DATA of the connection", frame(DATA, 0, 0, b"x"), Away(PROTOCOL_ERROR)),
        ("DATA of a stream that was never open", frame(DATA, 0, 1, b"x"), Away(PROTOCOL_ERROR)),
        ("HEADERS of the connection", frame(HEADERS, 5, 0, &asked("/", &[])), Away(PROTOCOL_ERROR)),
        ("HEADERS of a stream of the server", ask_for(2, "/hostile/told"), Away(PROTOCOL_ERROR)),
        (
            "a stream below the last",
            [ask_for(5, "/hostile/told"), ask_for(3, "/hostile/told")].concat(),
            Away(PROTOCOL_ERROR),
        ),
        ("RST_STREAM of the connection", frame(RST_STREAM, 0, 0, &[0; 4]), Away(PROTOCOL_ERROR)),
        ("RST_STREAM of a stream that was never open", frame(RST_STREAM, 0, 1, &[0; 4]), Away(PROTOCOL_ERROR)),
        ("SETTINGS of a stream", frame(SETTINGS, 0, 1, &[]), Away(PROTOCOL_ERROR)),
        ("PING of a stream", frame(PING, 0, 1, &[0; 8]), Away(PROTOCOL_ERROR)),
        ("GOAWAY of a stream", frame(GOAWAY, 0, 1, &[0; 8]), Away(PROTOCOL_ERROR)),
        (
            "PUSH_PROMISE of a client",
            [open(&[]), frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2])].concat(),
            Away(PROTOCOL_ERROR),
        ),
        (
            "WINDOW_UPDATE of a stream that was never open",
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            Away(PROTOCOL_ERROR),
        ),
        ("CONTINUATION of nothing", frame(CONTINUATION, 4, 1, &asked("/", &[])), Away(PROTOCOL_ERROR)),
        (
            "a head that another frame interrupts",
            [frame(HEADERS, 1, 1, &[]), frame(PING, 0, 0, &[0; 8])].concat(),
            Away(PROTOCOL_ERROR),
        ),
        (
            "a head that another stream interrupts",
            [frame(HEADERS, 1, 1, &[]), ask_for(3, "/")].concat(),
            Away(PROTOCOL_ERROR),
        ),
        ("DATA after the end", [headers(&[]), frame(DATA, 0, 1, b"x")].concat(), Away(PROTOCOL_ERROR)),
        (
            "trailers without an end",
            [open(&[]), frame(HEADERS, END_HEADERS, 1, &fields(&[("x", "1")]))].concat(),
            Reset(PROTOCOL_ERROR),
        ),
        // Sizes.
        ("a frame that is too large", frame(DATA, 0, 1, &[0; 16_385]), Away(FRAME_SIZE_ERROR)),
        ("SETTINGS of five bytes", frame(SETTINGS, 0, 0, &[0; 5]), Away(PROTOCOL_ERROR)),
        ("an acknowledgement with settings", frame(SETTINGS, ACK, 0, &[0; 6]), Away(PROTOCOL_ERROR)),
        ("PING of seven bytes", frame(PING, 0, 0, &[0; 7]), Away(PROTOCOL_ERROR)),
        ("RST_STREAM of three bytes", [open(&[]), frame(RST_STREAM, 0, 1, &[0; 3])].concat(), Away(PROTOCOL_ERROR)),
        ("WINDOW_UPDATE of three bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), Away(PROTOCOL_ERROR)),
        (
            "padding that is longer than its frame",
            [open(&[]), frame(DATA, 8, 1, &[9, 0, 0])].concat(),
            Away(PROTOCOL_ERROR),
        ),
        // Settings and windows.
        ("a window of 2^31", frame(SETTINGS, 0, 0, &setting(4, 1 << 31)), Away(PROTOCOL_ERROR)),
        ("ENABLE_PUSH 2", frame(SETTINGS, 0, 0, &setting(2, 2)), Away(PROTOCOL_ERROR)),
        ("MAX_FRAME_SIZE 1", frame(SETTINGS, 0, 0, &setting(5, 1)), Away(PROTOCOL_ERROR)),
        ("a window that grows by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), Away(PROTOCOL_ERROR)),
        (
            "a window that grows beyond 2^31",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]),
            Away(FLOW_CONTROL_ERROR),
        ),
        // Heads.
        ("a head that is none", frame(HEADERS, 5, 1, &[0xff; 20]), Away(PROTOCOL_ERROR)),
        ("a field that is in no table", frame(HEADERS, 5, 1, &[0xfe]), Away(PROTOCOL_ERROR)),
        ("no :method", only(&[scheme, authority, path]), Reset(PROTOCOL_ERROR)),
        ("no :scheme", only(&[method, authority, path]), Reset(PROTOCOL_ERROR)),
        ("no :path", only(&[method, scheme, authority]), Reset(PROTOCOL_ERROR)),
        ("an empty :path", only(&[method, scheme, authority, (":path", "")]), Reset(PROTOCOL_ERROR)),
        ("two of :path", only(&[method, scheme, authority, path, path]), Reset(PROTOCOL_ERROR)),
        ("two of :authority", only(&[method, scheme, authority, authority, path]), Reset(PROTOCOL_ERROR)),
        (
            "a pseudo-header behind a header",
            only(&[method, scheme, authority, ("x", "1"), path]),
            Reset(PROTOCOL_ERROR),
        ),
        ("an unknown pseudo-header", headers(&[(":x", "1")]), Away(PROTOCOL_ERROR)),
        (":status of a request", headers(&[(":status", "200")]), Reset(PROTOCOL_ERROR)),
        (
            ":protocol",
            only(&[(":method", "CONNECT"), (":protocol", "websocket"), scheme, authority, path]),
            Reset(PROTOCOL_ERROR),
        ),
        ("a name in upper case", headers(&[("X-Upper", "1")]), Away(PROTOCOL_ERROR)),
        ("a name with a space", headers(&[("x name", "1")]), Away(PROTOCOL_ERROR)),
        ("a value with a line", headers(&[("x", "1\r\nhost: x")]), Away(PROTOCOL_ERROR)),
        ("Connection", headers(&[("connection", "close")]), Reset(PROTOCOL_ERROR)),
        ("Transfer-Encoding", headers(&[("transfer-encoding", "chunked")]), Reset(PROTOCOL_ERROR)),
        ("Upgrade", headers(&[("upgrade", "websocket")]), Reset(PROTOCOL_ERROR)),
        ("TE: gzip", headers(&[("te", "gzip")]), Reset(PROTOCOL_ERROR)),
        (
            "a body that is longer than its length",
            [open(&[("content-length", "1")]), frame(DATA, 1, 1, b"xx")].concat(),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "a body that is shorter than its length",
            [open(&[("content-length", "3")]), frame(DATA, 1, 1, b"xx")].concat(),
            Reset(PROTOCOL_ERROR),
        ),
        ("no body of a length", headers(&[("content-length", "3")]), Reset(PROTOCOL_ERROR)),
        ("no host", only(&[method, scheme, path]), Answer(false)),
        (
            "two hosts",
            only(&[method, scheme, path, ("host", "demo.localhost"), ("host", "demo.localhost")]),
            Answer(false),
        ),
        ("another host", headers(&[("host", "other.localhost")]), Answer(false)),
        ("a target that is no path", only(&[method, scheme, authority, (":path", "*")]), Answer(false)),
        // What is allowed.
        ("a host and no :authority", only(&[method, scheme, path, ("host", "demo.localhost")]), Answer(true)),
        ("TE: trailers", headers(&[("te", "trailers")]), Answer(true)),
        ("a frame of an unknown kind", [frame(99, 7, 1, b"what"), headers(&[])].concat(), Answer(true)),
        ("an unknown setting", [frame(SETTINGS, 0, 0, &setting(99, 1)), headers(&[])].concat(), Answer(true)),
        ("PRIORITY", [frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]), headers(&[])].concat(), Answer(true)),
        ("an end that stands alone", [open(&[]), frame(DATA, 1, 1, b"")].concat(), Answer(true)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_violate_http2_are_refused() {
    let larder = start(Options::default()).await;
    let mut wrong = Vec::new();
    for (what, bytes, then) in table() {
        let mut wire = Wire::begin(&larder, &[]).await;
        wire.say(&bytes).await;
        let ends = |frame: &Frame| [GOAWAY, RST_STREAM, HEADERS].contains(&frame.kind);
        let found = match wire.until(ends).await {
            Some(frame) if frame.kind == GOAWAY => Some(Away(frame.code())),
            Some(frame) if frame.kind == RST_STREAM => Some(Reset(frame.code())),
            // Of the static table: :status 200.
            Some(frame) => Some(Answer(frame.payload[0] == 0x88)),
            None => None,
        };
        if found != Some(then) {
            wrong.push(format!("{what}: {then:?} expected, got {found:?}"));
            continue;
        }
        match then {
            Away(_) => assert_eq!(wire.until(|_| false).await, None, "{what}: the connection ends"),
            Reset(_) | Answer(_) => {
                wire.say(&ask_for(7, "/hostile/told")).await;
                let next = wire.until(|frame| frame.stream == 7 || frame.kind == GOAWAY).await;
                assert!(next.as_ref().is_some_and(|next| next.payload[0] == 0x88), "{what}: {next:?}");
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
