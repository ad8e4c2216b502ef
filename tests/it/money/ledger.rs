//! The ledger under groups that do not commit as they are: each outcome is told what became of it, and of it alone.

use std::time::Duration;

use futures::StreamExt;
use larder_model::settings::Settings;
use larder_model::time::Clock;
use larder_model::{Effect, Event, Execution, ExecutionStatus, Function, Grants, StoredEvent, Trigger};
use larder_platform::ledger::{self, Ledger};
use larder_store::Store;
use larder_store::ledger::{CommitResult, Ended, Origin};
use larder_store::listing::Listing;
use larder_store::state::Scope;
use larder_tests::proxy::{LastCommit, Mode, Proxy};
use larder_tests::services::{self, Database};
use larder_tests::{Backend, both, eventually, rows};
use serde_json::json;

const NOW: i64 = 1_795_262_400_000;

/// A store with a function that may do everything, for Anna.
struct World {
    store: Store,
    clock: Clock,
    of: rows::Of,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new(url: String) -> World {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::load(None, &[("database.url", url)]).unwrap();
        let store = Store::open(&settings.database, folder.path()).await.unwrap();
        let (partner, function): rows::Of = ("acme".parse().unwrap(), "f".parse().unwrap());
        store.insert_partner(&partner, "Acme", NOW).await.unwrap();
        let max = "92233720368547758.07";
        let grants: Grants = serde_json::from_value(json!({
            "state": true, "events": ["*.*"], "transactions": { "SEK": { "max": max, "sum": max, "period": "day" } },
        }))
        .unwrap();
        let new = Function { grants, ..Function::new(partner.clone(), function.clone(), NOW) };
        store.insert_function(&new).await.unwrap();
        let world = World { store, clock: Clock::manual(NOW), of: (partner, function), _folder: folder };
        world.enrol("anna").await;
        world
    }

    async fn enrol(&self, end_user: &str) {
        self.store.insert_enrolment(&rows::enrolment(&self.clock, &self.of, end_user)).await.unwrap();
    }

    async fn on(on: Backend) -> (World, Option<Database>) {
        let database = on.database().await;
        (World::new(database.as_ref().map(Database::url).unwrap_or_default()).await, database)
    }

    fn outcome(&self, effects: Vec<Effect>) -> Ended {
        rows::outcome(&self.clock, &self.of, effects)
    }

    fn saving(&self, minor_units: i64) -> Ended {
        rows::savings(&self.clock, &self.of, &[("anna", minor_units)])
    }

    async fn row(&self, ended: &Ended) -> Option<Execution> {
        self.store.execution(&self.of.0, &self.of.1, &ended.execution.id).await.unwrap()
    }

    /// Commits these as one group; gives what each was told, in words.
    async fn commit(&self, group: Vec<Ended>) -> Vec<String> {
        let settings = ledger::Settings { flush: Duration::from_secs(60), buffer: 100 };
        let (ledger, writer) = Ledger::new(self.store.clone(), self.clock.clone(), &settings);
        let told = futures::future::join_all(group.into_iter().map(|ended| ledger.commit(ended)));
        // All of them are there before the first is looked at.
        let writer = async {
            tokio::task::yield_now().await;
            writer.await;
        };
        tokio::select! {
            biased;
            told = told => told.into_iter().map(|told| format!("{told:?}")).collect(),
            () = writer => unreachable!("it is not closed"),
        }
    }

    async fn is_there(&self, ended: &Ended) -> bool {
        self.row(ended).await.is_some()
    }
}

const COMMITTED: &str = "Ok(Committed { emitted: false })";

fn proxied(database: &Database, proxy: &Proxy) -> String {
    format!("mysql://root@127.0.0.1:{}/{}", proxy.port(), database.name())
}

async fn proxy() -> Proxy {
    Proxy::start(services::mariadb_url().rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap()).await
}

fn emission(world: &World) -> Ended {
    let mut ended = world.outcome(vec![]);
    ended.effects.push(Effect::Emit(Event {
        id: format!("{}-1", ended.execution.id),
        source: String::new(),
        kind: "a.b".into(),
        subject: None,
        time: String::new(),
        data_content_type: String::new(),
        data: vec![].into(),
        attributes: Default::default(),
    }));
    ended
}

/// Somebody has taken the key of what it emits.
async fn take(world: &World, ended: &Ended) {
    let source = format!("/functions/{}", world.of.1);
    let id = format!("{}-1", ended.execution.id);
    let event = StoredEvent { source, ..rows::event(&world.clock, &world.of.0, id, "a.b") };
    world.store.insert_events(&[event]).await.unwrap();
}

both!(duplicate_key_of_an_emission_refuses_only_its_outcome, async |on| {
    let (world, _database) = World::on(on).await;
    let bad = emission(&world);
    take(&world, &bad).await;
    let mut group: Vec<Ended> = (1..=20).map(|amount| world.saving(amount)).collect();
    group.insert(7, bad.clone());
    group.push(emission(&world));
    let told = world.commit(group.clone()).await;
    for (at, (told, ended)) in told.iter().zip(&group).enumerate() {
        assert!(world.is_there(ended).await, "{at}: {told}");
        match at {
            7 => assert!(told.starts_with("Ok(Refused {") && told.contains("exists already"), "{told}"),
            21 => assert_eq!(told, "Ok(Committed { emitted: true })"),
            _ => assert_eq!(told, COMMITTED, "{at}"),
        }
    }
    assert_eq!(world.row(&bad).await.unwrap().status, ExecutionStatus::Failed);
});

#[tokio::test(flavor = "multi_thread")]
async fn commit_is_reported_when_the_database_fails_right_after_it() {
    let (database, proxy) = (Database::create().await, proxy().await);
    let world = World::new(proxied(&database, &proxy)).await;
    let (first, bad, last) = (world.saving(1), emission(&world), world.saving(2));
    take(&world, &bad).await;
    proxy.refuse_after(LastCommit::Answered);
    let told = world.commit(vec![first.clone(), bad.clone(), last.clone()]).await;
    proxy.set(Mode::Pass);
    assert_eq!(told[0], COMMITTED);
    for told in &told[1..] {
        assert!(told.starts_with("Err("), "{told}");
    }
    let there = [world.is_there(&first).await, world.is_there(&bad).await, world.is_there(&last).await];
    assert_eq!(there, [true, false, false]);
}

/// Other processes go on with what was committed before this one has learned that it was.
#[tokio::test(flavor = "multi_thread")]
async fn result_of_a_commit_is_independent_of_concurrent_changes() {
    let (database, proxy) = (Database::create().await, proxy().await);
    let world = World::new(proxied(&database, &proxy)).await;
    let direct = World { store: other(&database).await, ..World::on(Backend::Embedded).await.0 };
    for commit in [LastCommit::Done, LastCommit::Lost] {
        let new = rows::queued(&world.clock, &world.of, Trigger::Http);
        world.store.insert_execution(&new).await.unwrap();
        let claim = async |store: &Store, holder: &str, now: i64| {
            store.claim_executions(holder, now, now + 1_000, &rows::wanted(&world.of.0, 8)).await.unwrap().pop()
        };
        let claimed = claim(&world.store, "one", NOW).await.unwrap();
        let mut dead_letter = Ended { origin: Origin::Row("one".into()), ..world.outcome(vec![]) };
        dead_letter.execution =
            Execution { status: ExecutionStatus::Failed, dead_lettered_at_ms: Some(NOW), ..claimed.execution };
        let saving = world.saving(1);
        proxy.refuse_after(commit);
        let others = async {
            proxy.refuses().await;
            // The dead letter is redriven, or the claim has run out; either way another process has it now.
            if commit == LastCommit::Done {
                direct.store.redrive(&world.of.0, &new.id, NOW).await.unwrap();
            }
            // The server has to notice first that nobody is there any more.
            let two = async || claim(&direct.store, "two", NOW + 2_000).await;
            eventually("another to claim it", two).await;
            proxy.set(Mode::Pass);
        };
        let (told, ()) = tokio::join!(world.commit(vec![dead_letter, saving.clone()]), others);
        assert_eq!(told[1], COMMITTED, "{commit:?}: {told:?}");
        assert!(world.is_there(&saving).await);
        match commit {
            LastCommit::Done => assert_eq!(told[0], COMMITTED),
            _ => assert_eq!(told[0], "Ok(Fenced)", "another has it now"),
        }
    }
}

async fn other(database: &Database) -> Store {
    let settings = Settings::load(None, &[("database.url", database.url())]).unwrap();
    Store::open(&settings.database, std::path::Path::new("/nowhere")).await.unwrap()
}

both!(outcome_may_save_for_more_end_users_than_one_statement_can_bind, async |on| {
    let (world, _database) = World::on(on).await;
    let names: Vec<String> = (0..600).map(|number| format!("user-{number:03}")).collect();
    let enrolled = names.iter().map(|name| world.enrol(name));
    futures::stream::iter(enrolled).buffer_unordered(8).collect::<Vec<()>>().await;
    let mut each: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let all = rows::savings(&world.clock, &world.of, &each);
    each.push(("nobody", 1));
    let told = world.commit(vec![all, rows::savings(&world.clock, &world.of, &each)]).await;
    assert_eq!(told[0], COMMITTED);
    assert!(told[1].starts_with("Ok(Refused {") && told[1].contains("nobody"), "{}", told[1]);
});

both!(sums_beyond_64_bits_are_refused_and_block_nobody, async |on| {
    let (world, _database) = World::on(on).await;
    let told = world.commit(vec![world.saving(i64::MAX), world.saving(i64::MAX), world.saving(1)]).await;
    assert_eq!(told[0], COMMITTED);
    for told in &told[1..] {
        assert!(told.starts_with("Ok(Refused {") && told.contains("transactions.SEK.sum"), "{told}");
    }
    // As an older version could leave it.
    let another = world.saving(i64::MAX);
    let told = world.commit(vec![world.outcome(vec![]), another]).await;
    assert!(told[0] == COMMITTED && told[1].contains("transactions.SEK.sum"), "{told:?}");
    // What all have saved together is as much as can be said.
    world.enrol("bo").await;
    let told = world.commit(vec![rows::savings(&world.clock, &world.of, &[("bo", i64::MAX)])]).await;
    assert_eq!(told[0], COMMITTED);
    let sums = world.store.sum_transactions(&world.of.0, &Listing::first(1)).await.unwrap();
    assert_eq!((sums.len(), sums[0].count, sums[0].amount.minor_units()), (1, 2, i64::MAX));
});

both!(savings_that_arrive_while_others_are_written_stay_within_the_grant, async |on| {
    let (mut world, _database) = World::on(on).await;
    world.of.1 = "bounded".parse().unwrap();
    let grants =
        json!({ "state": true, "transactions": { "SEK": { "max": "1.00", "sum": "20.00", "period": "day" } } });
    let function = Function::new(world.of.0.clone(), world.of.1.clone(), NOW);
    world
        .store
        .insert_function(&Function { grants: serde_json::from_value(grants).unwrap(), ..function })
        .await
        .unwrap();
    world.enrol("anna").await;
    let settings = ledger::Settings { flush: Duration::from_secs(60), buffer: 100 };
    let (ledger, writer) = Ledger::new(world.store.clone(), world.clock.clone(), &settings);
    let writer = tokio::spawn(writer);
    let mut runs = tokio::task::JoinSet::new();
    for number in 0..60 {
        let (ledger, mut saving) = (ledger.clone(), world.saving(100));
        saving.effects.push(Effect::IncrementState { key: "savings".into(), by: 1 });
        runs.spawn(async move {
            // Some arrive together, and others while those are being written.
            tokio::time::sleep(Duration::from_millis(number / 4)).await;
            ledger.commit(saving).await.unwrap()
        });
    }
    let results = runs.join_all().await;
    let saved = results.iter().filter(|result| matches!(result, CommitResult::Committed { .. })).count();
    let beyond =
        |result: &&CommitResult| matches!(result, CommitResult::Refused { why, .. } if why.contains("SEK.sum"));
    assert_eq!((saved, results.iter().filter(beyond).count()), (20, 40), "{results:?}");
    let scope = Scope { partner: world.of.0.clone(), function: world.of.1.clone(), enrolment: None };
    let (counted, _) = world.store.get_state(&scope, "savings").await.unwrap().expect("it was counted");
    assert_eq!(counted, b"20");
    ledger.close().await;
    writer.await.unwrap();
});
