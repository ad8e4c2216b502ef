//! The savings of a day as a file.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use larder_tests::{Backend, Larder, Options, eventually, guests};
use serde_json::json;

use super::signed_in;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_has_every_saving_once_however_many_reads_it_takes() {
    let larder = Larder::start_with(Options::on(Backend::Embedded)).await;
    let api = larder.api();
    api.deploy("saves", &guests::guest("probe"), json!({ "events": ["probe.save"] })).await;
    api.enrol("saves", "clock", "clock", json!({})).await;
    // More than are read at once; the memo of each is its event's id.
    stream::iter(0..510)
        .for_each_concurrent(16, async |number| {
            let id = format!("=event-{number}");
            api.event(&id, "probe.save", Some("clock"), json!({ "amount": "1.00" })).await.is(202);
        })
        .await;
    let mut tab = signed_in(&larder, "anna@bank.example").await;
    let lines = eventually("all savings", async || {
        let file = tab.go_once("/depo/transactions/export").await.is(200);
        let lines: Vec<String> = file.html.lines().skip(1).map(str::to_owned).collect();
        (lines.len() >= 510).then_some(lines)
    })
    .await;
    let memos: BTreeSet<_> = lines.iter().filter_map(|line| line.rsplit(',').next()).collect();
    assert_eq!((lines.len(), memos.len()), (510, 510));
    assert!(memos.contains("\"'=event-7\""), "{memos:?}");
}
