//! Schedules, with the clock in the test's hand.

use larder::roles;
use larder_model::ids::{DeploymentId, FunctionId, PartnerId};
use larder_model::settings::Settings;
use larder_model::time::{Clock, rfc3339};
use larder_model::{BuildStatus, Deployment, Exports, Function};
use larder_platform::jobs::schedules;
use larder_secrets::Secrets;
use larder_server::app::App;
use larder_signals::lifecycle::Lifecycle;
use larder_store::Firing;
use larder_store::listing::Listing;
use larder_tests::both;
use larder_tests::services::Database;

/// Half a second after 2026-11-21 12:00 UTC.
const NOON: i64 = 1_795_262_400_500;
const MINUTE: i64 = 60_000;

pub async fn app(folder: &std::path::Path, database: &Option<Database>, clock: Clock) -> App {
    app_with(folder, database, clock, &[]).await
}

/// The same with these settings.
pub async fn app_with(
    folder: &std::path::Path,
    database: &Option<Database>,
    clock: Clock,
    settings: &[(&str, String)],
) -> App {
    let url = database.as_ref().map(Database::url).unwrap_or_default();
    let data = folder.display().to_string();
    let overrides = [("data", data), ("database.url", url), ("scheduler.catch_up", "1h".into())];
    let settings = Settings::load(None, &[&overrides, settings].concat()).unwrap();
    roles::start(settings, Secrets::new(&[1; 32]), "operator", clock, &Lifecycle::default()).await.unwrap()
}

/// A function with an active deployment, of which only the schedule matters here.
pub async fn scheduled(app: &App, schedule: &str) -> (PartnerId, FunctionId) {
    let of = deployed(app, "acme", "tick", |function| Function {
        name: "Tick".into(),
        schedule: schedule.into(),
        timezone: "Europe/Stockholm".into(),
        ..function
    })
    .await;
    app.directory.reload(&of.0).await.unwrap();
    schedules::arm(app, &of.0, &of.1).await.unwrap();
    of
}

/// A function with an active deployment, of a partner that is made if there is none of this name.
pub async fn deployed(
    app: &App,
    partner: &str,
    id: &str,
    change: impl FnOnce(Function) -> Function,
) -> (PartnerId, FunctionId) {
    let (partner, id): (PartnerId, FunctionId) = (partner.parse().unwrap(), id.parse().unwrap());
    let now = app.clock.now_ms();
    if app.store.partner(&partner).await.unwrap().is_none() {
        app.store.insert_partner(&partner, "A partner", now).await.unwrap();
    }
    let function = Function::new(partner.clone(), id.clone(), now);
    let function = Function {
        name: id.to_string(),
        runtime: "wasi-0.2".into(),
        timezone: "UTC".into(),
        timeout_s: 15,
        ..function
    };
    app.store.insert_function(&change(function)).await.unwrap();
    let deployment = Deployment {
        partner: partner.clone(),
        id: DeploymentId::generate(&app.clock),
        function: id.clone(),
        status: BuildStatus::Ready,
        activate: true,
        kind: "manual".into(),
        entrypoint: String::new(),
        source_format: larder_model::SourceFormat::Wasm,
        source_digest: larder_model::Digest([0; 32]),
        source_bytes: 0,
        uploading: false,
        digest: larder_model::Digest([0; 32]),
        component_bytes: 0,
        build_bytes: 0,
        build_ms: 0,
        build_logs: String::new(),
        build_lost: 0,
        exports: Some(Exports { handler: true, ..Exports::default() }),
        grants: None,
        settings: None,
        origin: None,
        uploader: None,
        approval: None,
        created_at_ms: now,
        updated_at_ms: now,
    };
    app.store.insert_deployment(&deployment).await.unwrap();
    assert!(app.store.activate_deployment(&deployment, None, &app.clock).await.unwrap());
    (partner, id)
}

/// The nominal times that have executions, and how late each was.
async fn fired(app: &App, of: &(PartnerId, FunctionId)) -> Vec<(String, Option<i64>)> {
    let mut rows = app.store.list_executions(&of.0, &of.1, &Listing::first(5_000)).await.unwrap().rows;
    rows.sort_by_key(|e| e.nominal_at_ms);
    rows.iter().map(|e| (rfc3339(e.nominal_at_ms.unwrap())[11..16].to_owned(), e.late_ms)).collect()
}

async fn fire(app: &App) {
    while schedules::step(app).await.unwrap() {}
}

both!(each_time_is_fired_once_across_a_restart_and_a_clock_set_back, async |on| {
    let (folder, database) = (larder_tests::folder("larder-app-"), on.database().await);
    let clock = Clock::manual(NOON);
    let of = {
        let app = app(folder.path(), &database, clock.clone()).await;
        let of = scheduled(&app, "* * * * *").await;
        fire(&app).await;
        assert_eq!(fired(&app, &of).await, []);
        clock.advance(MINUTE);
        fire(&app).await;
        fire(&app).await;
        assert_eq!(fired(&app, &of).await, [("12:01".to_owned(), None)]);
        app.ledger.close().await;
        of
    };
    // The process is away for two and a half minutes; what it missed is made up for, marked late.
    clock.advance(2 * MINUTE + MINUTE / 2);
    let app = app(folder.path(), &database, clock.clone()).await;
    fire(&app).await;
    let times = fired(&app, &of).await;
    assert_eq!(times.iter().map(|(at, _)| at.as_str()).collect::<Vec<_>>(), ["12:01", "12:02", "12:03"]);
    assert_eq!(times[1].1, Some(90_500), "12:02 was fired at 12:03:30.5");
    assert_eq!(times[0].1, None);
    // Set back by two minutes and re-armed, the times come again; they are not fired again.
    clock.advance(-2 * MINUTE);
    schedules::arm(&app, &of.0, &of.1).await.unwrap();
    for _ in 0..4 {
        clock.advance(MINUTE);
        fire(&app).await;
    }
    let times: Vec<String> = fired(&app, &of).await.into_iter().map(|(at, _)| at).collect();
    assert_eq!(times, ["12:01", "12:02", "12:03", "12:04", "12:05"]);
});

both!(firings_missed_for_longer_than_the_window_are_skipped, async |on| {
    let (folder, database) = (larder_tests::folder("larder-app-"), on.database().await);
    let clock = Clock::manual(NOON);
    let app = app(folder.path(), &database, clock.clone()).await;
    let of = scheduled(&app, "*/10 * * * *").await;
    clock.advance(180 * MINUTE);
    fire(&app).await;
    let times: Vec<String> = fired(&app, &of).await.into_iter().map(|(at, _)| at).collect();
    assert_eq!(times, ["14:10", "14:20", "14:30", "14:40", "14:50", "15:00"], "the last hour only");
});

both!(a_deployment_does_not_lose_a_firing_that_is_due, async |on| {
    let (folder, database) = (larder_tests::folder("larder-app-"), on.database().await);
    let clock = Clock::manual(NOON);
    let app = app(folder.path(), &database, clock.clone()).await;
    let of = scheduled(&app, "0 13 * * *").await;
    // 13:00 in Stockholm is 12:00 UTC, which is over today: tomorrow's is next.
    clock.advance(24 * 60 * MINUTE);
    schedules::arm(&app, &of.0, &of.1).await.unwrap();
    fire(&app).await;
    assert_eq!(fired(&app, &of).await.len(), 1);
});

both!(schedules_that_are_due_together_fire_once_each, async |on| {
    const FUNCTIONS: usize = 40;
    let (folder, database) = (larder_tests::folder("larder-app-"), on.database().await);
    let clock = Clock::manual(NOON);
    let app = app(folder.path(), &database, clock.clone()).await;
    let minutely = |function: Function| Function { schedule: "* * * * *".into(), ..function };
    let mut all = Vec::new();
    for number in 0..FUNCTIONS {
        all.push(deployed(&app, "acme", &format!("tick-{number}"), minutely).await);
    }
    app.directory.reload(&all[0].0).await.unwrap();
    for (partner, function) in &all {
        schedules::arm(&app, partner, function).await.unwrap();
    }
    clock.advance(2 * MINUTE);
    // As many processes would.
    tokio::join!(fire(&app), fire(&app), fire(&app));
    for of in &all {
        let times: Vec<String> = fired(&app, of).await.into_iter().map(|(at, _)| at).collect();
        assert_eq!(times, ["12:01", "12:02"], "{}", of.1);
    }
});

both!(a_firing_whose_schedule_has_moved_does_not_hold_up_the_others, async |on| {
    let (folder, database) = (larder_tests::folder("larder-app-"), on.database().await);
    let app = app(folder.path(), &database, Clock::manual(NOON)).await;
    let (partner, function) = scheduled(&app, "* * * * *").await;
    let other = deployed(&app, "acme", "other", |function| function).await.1;
    let at = app.store.schedule(&partner, &function).await.unwrap().unwrap();
    app.store.set_schedule(&partner, &other, Some(at)).await.unwrap();
    let firing = |function: &FunctionId, at| Firing {
        function: function.clone(),
        at,
        next: Some(at + MINUTE),
        executions: vec![],
        fanouts: vec![],
    };
    let both = [firing(&function, at), firing(&other, at - MINUTE)];
    assert_eq!(app.store.fire_schedules(&partner, &both).await.unwrap(), [true, false]);
    assert_eq!(app.store.schedule(&partner, &function).await.unwrap(), Some(at + MINUTE));
    assert_eq!(app.store.schedule(&partner, &other).await.unwrap(), Some(at));
    // The last one disarms.
    let last = Firing { next: None, ..firing(&other, at) };
    assert_eq!(app.store.fire_schedules(&partner, &[last]).await.unwrap(), [true]);
    assert_eq!(app.store.schedule(&partner, &other).await.unwrap(), None);
});
