//! Clients that ask for everything and take nothing: they end by themselves, cost no memory, and hold up nobody.

use std::time::Instant;

use larder_tests::hostile::process::memory_bytes;

use super::frames::*;
use super::*;

/// What a flood may cost in memory at most, on a process that measures nothing else.
const GROWTH_MAX: u64 = 32 << 20;
/// The longest that a neighbour may wait for its answer meanwhile.
const NEIGHBOUR_MAX: Duration = Duration::from_secs(10);

/// Floods until the connection ends, with a neighbour who is served meanwhile. Gives the code of the GOAWAY, if one came through.
async fn flood(larder: &Larder, what: &str, settings: &[u8], bytes: &[u8], times: usize) -> Option<u32> {
    let before = memory_bytes(larder.pid());
    let wire = Wire::begin(larder, settings).await;
    let (mut reading, mut writing) = wire.0.into_split();
    let neighbour = client(larder).await;
    let begun = Instant::now();
    let writes = async {
        for _ in 0..times {
            if writing.write_all(bytes).await.is_err() {
                break;
            }
        }
        // It is the server that ends it.
        writing
    };
    let reads = async {
        let mut all = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(60), reading.read_to_end(&mut all)).await;
        assert!(read.is_ok(), "{what}: the connection is still open");
        away(&all)
    };
    let served = async {
        let mut worst = Duration::ZERO;
        for _ in 0..5 {
            let asked = Instant::now();
            assert_eq!(super::get(&neighbour, "/hostile/say?body=x").await.status(), 200, "{what}");
            worst = worst.max(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        worst
    };
    let (_, code, worst) = tokio::join!(writes, reads, served);
    let grown = memory_bytes(larder.pid()).saturating_sub(before);
    println!("{what}: over after {:?}, GOAWAY {code:?}, neighbour {worst:?}, {} KiB", begun.elapsed(), grown >> 10);
    assert!(grown < GROWTH_MAX, "{what}: {} MiB more", grown >> 20);
    assert!(worst < NEIGHBOUR_MAX, "{what}: a neighbour waited for {worst:?}");
    code
}

/// The code of the last GOAWAY among these frames.
fn away(mut bytes: &[u8]) -> Option<u32> {
    let mut code = None;
    while bytes.len() >= 9 {
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        if bytes.len() < 9 + length {
            break;
        }
        if bytes[3] == GOAWAY {
            code = Some(u32::from_be_bytes(bytes[13..17].try_into().unwrap()));
        }
        bytes = &bytes[9 + length..];
    }
    code
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_end_their_connection_and_hold_up_nobody() {
    let options = Options::default().set("LARDER_SERVER__CLIENT_TIMEOUT", "1s");
    let larder = start(options.set("LARDER_SERVER__STREAMS_PER_CONNECTION", "20")).await;
    let cancel = |stream| frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
    // 100,000 requests that are given up at once.
    let resets: Vec<u8> =
        (0..100_000).flat_map(|at| [ask_for(2 * at + 1, "/hostile/say?body=x"), cancel(2 * at + 1)].concat()).collect();
    assert_eq!(flood(&larder, "resets", &[], &resets, 1).await, Some(ENHANCE_YOUR_CALM));
    // A head without an end, in many frames.
    let head = [frame(HEADERS, END_STREAM, 1, &asked("/", &[])), vec![]].concat();
    let rest = frame(CONTINUATION, 0, 1, &fields(&[("x-more", &"a".repeat(100))]).repeat(100));
    let continuations = [head, rest.repeat(2_000)].concat();
    let code = flood(&larder, "continuations", &[], &continuations, 1).await;
    assert!([Some(ENHANCE_YOUR_CALM), Some(PROTOCOL_ERROR)].contains(&code), "{code:?}");
    // Empty pieces of a body that nobody reads, and pieces of one byte.
    let open = frame(HEADERS, END_HEADERS, 1, &asked("/hello/slow?ms=1000", &[]));
    let small = [open.clone(), frame(DATA, 0, 1, b"x").repeat(100_000)].concat();
    flood(&larder, "small pieces", &[], &small, 1).await;
    let empty = [open, frame(DATA, 0, 1, b"").repeat(200_000)].concat();
    flood(&larder, "empty pieces", &[], &empty, 1).await;
    // Frames that want an answer, for ever, from somebody who asks for nothing.
    let chatter =
        [frame(PING, 0, 0, &[7; 8]), frame(SETTINGS, 0, 0, &setting(4, 1)), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])];
    let code = flood(&larder, "chatter", &[], &chatter.concat().repeat(1_000), usize::MAX).await;
    assert_eq!(code, Some(NO_ERROR));
    // More requests than may be open.
    let many: Vec<u8> = (0..20_000).flat_map(|at| ask_for(2 * at + 1, "/hello/slow?ms=1000")).collect();
    flood(&larder, "requests", &[], &many, 1).await;
    assert_eq!(super::get(&client(&larder).await, "/hostile/say?body=x").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_given_up_one_by_one_end_the_connection_too() {
    let larder = start(Options::default()).await;
    let mut wire = Wire::begin(&larder, &[]).await;
    let mut sent = 0;
    let code = loop {
        assert!(sent < 1_000, "{sent} were given up");
        let stream = 2 * sent + 1;
        wire.say(&ask_for(stream, "/hello/slow?ms=5000")).await;
        tokio::time::sleep(Duration::from_millis(3)).await;
        wire.say(&frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())).await;
        sent += 1;
        let mut buffer = vec![0; 4096];
        match wire.0.try_read(&mut buffer) {
            Ok(0) => break None,
            Ok(read) if away(&buffer[..read]).is_some() => break away(&buffer[..read]),
            _ => {}
        }
    };
    assert_eq!(code, Some(ENHANCE_YOUR_CALM));
    assert!((100..300).contains(&sent), "{sent}");
    let (_, metrics) = larder.internal("/metrics").await;
    assert!(metrics.contains("larder_http2_calmed_total 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_streams_end_without_their_neighbours() {
    let larder = start(Options::default().set("LARDER_SERVER__CLIENT_TIMEOUT", "2s")).await;
    // No window for anybody, but for stream 3.
    let mut wire = Wire::begin(&larder, &setting(4, 0)).await;
    for (stream, guest) in [(1, "hostile"), (3, "hostile"), (5, "hostile-saver")] {
        wire.say(&ask_for(stream, &format!("/{guest}/pour?40960"))).await;
    }
    let begun = Instant::now();
    let (mut bytes, mut whole, mut cut) = (0, false, Vec::new());
    while !whole || cut.len() < 2 {
        if bytes < 40_960 && begun.elapsed() > Duration::from_millis(100 * (bytes as u64 / 4_096 + 1)) {
            wire.say(&frame(WINDOW_UPDATE, 0, 3, &4_096_u32.to_be_bytes())).await;
        }
        let Ok(next) = tokio::time::timeout(Duration::from_millis(50), wire.next()).await else {
            assert!(begun.elapsed() < Duration::from_secs(15), "{bytes} {cut:?}");
            continue;
        };
        let next = next.expect("the connection goes on");
        match next.kind {
            DATA => {
                assert_eq!(next.stream, 3);
                bytes += next.payload.len();
                whole = next.flags & END_STREAM != 0;
            }
            RST_STREAM => cut.push((next.stream, next.code())),
            GOAWAY => panic!("{next:?}"),
            _ => {}
        }
    }
    cut.sort();
    assert_eq!((bytes, cut.as_slice()), (40_960, &[(1, CANCEL), (5, CANCEL)][..]));
    assert!(begun.elapsed() >= Duration::from_secs(1));

    // A body that stops, beside a request that is served; a head that stops; and one who asks for nothing.
    let mut wire = Wire::begin(&larder, &[]).await;
    let post = fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "demo.localhost"),
        (":path", "/hostile-saver/echo"),
        ("content-length", "10"),
    ]);
    wire.say(
        &[frame(HEADERS, END_HEADERS, 1, &post), frame(DATA, 0, 1, b"h"), ask_for(3, "/hostile/say?body=x")].concat(),
    )
    .await;
    let first = wire.until(|frame| frame.kind == HEADERS).await.unwrap();
    assert_eq!((first.stream, first.payload[0]), (3, 0x88));
    let late = wire.until(|frame| frame.kind == HEADERS).await.unwrap();
    assert!(late.stream == 1 && late.payload[0] != 0x88, "{late:?}");
    for (what, bytes) in [("idle", vec![]), ("half a head", frame(HEADERS, END_STREAM, 1, &asked("/", &[])))] {
        let (begun, mut wire) = (Instant::now(), Wire::begin(&larder, &[]).await);
        wire.say(&bytes).await;
        let away = wire.until(|frame| frame.kind == GOAWAY).await.unwrap();
        assert_eq!(away.code(), NO_ERROR, "{what}");
        wire.until(|_| false).await;
        assert!(begun.elapsed() < Duration::from_secs(15), "{what}: {:?}", begun.elapsed());
    }
    let (_, metrics) = larder.internal("/metrics").await;
    assert!(metrics.contains("larder_http2_streams_cut_total 2"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_is_disconnected() {
    let larder = start(Options::default().set("LARDER_SERVER__CLIENT_TIMEOUT", "1s")).await;
    let before = memory_bytes(larder.pid());
    // A window for everything, and nobody who reads.
    let mut wire = Wire::begin(&larder, &setting(4, 0x7fff_ffff)).await;
    wire.say(&frame(WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes())).await;
    for stream in 0..20 {
        wire.say(&ask_for(2 * stream + 1, "/hostile/pour?30000000")).await;
    }
    eventually("the connection to be closed", async || {
        let open = larder_tests::hostile::process::descriptors(larder.pid());
        tokio::time::sleep(Duration::from_millis(200)).await;
        wire.say(&[]).await;
        let (_, metrics) = larder.internal("/metrics").await;
        (metrics.contains("larder_tasks") && open > 0 && wire.0.try_write(&[0]).is_err()).then_some(())
    })
    .await;
    let grown = memory_bytes(larder.pid()).saturating_sub(before);
    assert!(grown < 128 << 20, "{} MiB more", grown >> 20);
    assert_eq!(super::get(&client(&larder).await, "/hostile/say?body=x").await.status(), 200);
}
