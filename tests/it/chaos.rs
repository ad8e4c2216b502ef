//! The short form of `make chaos`.

use larder_tests::Random;
use larder_tests::chaos::{self, Plan};

#[tokio::test(flavor = "multi_thread")]
async fn whatever_breaks_nothing_is_missing_doubled_or_stuck() {
    let outcome = chaos::run(Plan::short(Random::new().below(1 << 32))).await;
    println!("{}", outcome.table());
    let complaints = outcome.complaints();
    assert!(complaints.is_empty(), "{}\n{}", outcome.table(), complaints.join("\n"));
}
