//! Answers of every size, however their functions write them.

use std::sync::Arc;

use futures::StreamExt;
use larder_tests::{Larder, both, guests};
use reqwest::Method;
use serde_json::json;

const WAYS: [&str; 7] = [
    "flushed-at-once",
    "flushed-in-parts",
    "flushed-at-the-end",
    "never-flushed",
    "in-small-parts",
    "before-its-head",
    "with-a-length",
];
/// Around a write's 4 KiB, a chunk's 64 KiB and what the host lets a guest be ahead of a client; up to the largest answer.
const SIZES: [usize; 26] = [
    1,
    1_000,
    4_095,
    4_096,
    4_097,
    20_000,
    65_535,
    65_536,
    65_537,
    70_000,
    80_000,
    90_000,
    100_000,
    131_072,
    140_000,
    170_000,
    196_608,
    230_000,
    262_144,
    300_000,
    340_000,
    400_000,
    460_000,
    520_000,
    1 << 20,
    8 << 20,
];

both!(responses_of_every_size_arrive_however_they_are_written, async |on| {
    let larder = Arc::new(Larder::start_on(on).await);
    let api = larder.api();
    // Without effects it may stream; with them it leaves whole, after they have committed.
    for guest in ["hostile", "hostile-saver"] {
        let settings = json!({ "routes": [format!("/{guest}")], "limits": { "cpuMs": 20_000 } });
        api.deploy(guest, &guests::guest(guest), settings).await;
    }
    let calls = ["hostile", "hostile-saver"].into_iter().flat_map(|guest| {
        WAYS.into_iter().flat_map(move |way| SIZES.into_iter().map(move |bytes| (guest, way, bytes)))
    });
    let poured = guests::poured(SIZES[SIZES.len() - 1]);
    let wrong: Vec<String> = futures::stream::iter(calls)
        .map(async |(guest, way, bytes)| {
            let call = larder.web("demo", Method::GET, &format!("/{guest}/write?{way},{bytes}"));
            let answer = call.send().await.expect("a head");
            let status = answer.status().as_u16();
            let got = answer.bytes().await.map_err(|err| err.to_string());
            let fine = status == 200 && got.as_ref().is_ok_and(|body| body[..] == poured[..bytes]);
            (!fine).then(|| format!("{guest} {way} {bytes}: {status}, {:?} bytes", got.map(|body| body.len())))
        })
        .buffer_unordered(4)
        .filter_map(async |wrong| wrong)
        .collect()
        .await;
    assert!(wrong.is_empty(), "{} of {} answers:\n{}", wrong.len(), 2 * WAYS.len() * SIZES.len(), wrong.join("\n"));
});
