//! What becomes of an outcome, for each thing that its decision depends on.

use larder_model::ids::EnrolmentId;
use larder_model::{Grants, Period, TransactionGrant, Trigger};

use super::*;
use crate::Root;

const NOW: Millis = 1_795_262_400_000;
const MADE_AT: Millis = 1_000;
const COMMITTED: CommitResult = CommitResult::Committed { emitted: false };

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn currency(code: &str) -> Currency {
    Currency::known(code).unwrap()
}

fn grant(max: &str, sum: &str, code: &str, period: Period) -> TransactionGrant {
    let amount = |text| Amount::parse(text, currency(code)).unwrap();
    TransactionGrant::new(amount(max), amount(sum), period).unwrap()
}

fn grants() -> Grants {
    let transactions = [
        grant("100.00", "150.00", "SEK", Period::Week),
        grant("500", "1000", "JPY", Period::Day),
        // All that 64 bits hold, so that only the addition can fail.
        grant("92233720368547758.07", "92233720368547758.07", "EUR", Period::Month),
    ];
    Grants {
        state: true,
        transactions: transactions.into_iter().collect(),
        events: ["goal.*".into()].into(),
        ..Grants::default()
    }
}

/// A group whose one function `f` is enabled and granted all that these tests do; `kim` and `lee` take part in it by the
/// enrolments `e-kim` and `e-lee`.
fn commit(clock: &Clock) -> Commit<'_> {
    let (partner, function): (PartnerId, FunctionId) = (id("acme"), id("f"));
    let now = FunctionNow { enabled: true, made_at_ms: MADE_AT, grants: Some(grants()) };
    let mut active = ActiveEnrolments::default();
    for end_user in ["kim", "lee"] {
        active.enrolments.insert((partner.clone(), id(&format!("e-{end_user}"))));
        active.end_users.insert((partner.clone(), function.clone(), end_user.to_owned()));
    }
    Commit {
        now: clock.now_ms(),
        clock,
        refused: None,
        functions: [((partner, function), now)].into(),
        leases: HashMap::new(),
        active,
        saved: HashMap::new(),
        descendants: Descendants::default(),
        state: HashMap::new(),
        changed: BTreeSet::new(),
        changed_scopes: HashSet::new(),
        stale_lists: HashSet::new(),
        locks: HashMap::new(),
        rows: Rows::default(),
    }
}

fn function<'c>(commit: &'c mut Commit<'_>) -> &'c mut FunctionNow {
    commit.functions.get_mut(&(id("acme"), id("f"))).unwrap()
}

/// An outcome without a row of its own yet, of a run for nobody in particular.
fn ended(execution: &str, effects: Vec<Effect>) -> Ended {
    let (partner, status) = (id("acme"), ExecutionStatus::Completed);
    Ended {
        execution: Execution::new(partner, id(execution), id("f"), Trigger::Http, status, NOW - 5),
        origin: Origin::Call,
        retry_at_ms: None,
        reads: vec![],
        effects,
        end_user: None,
        depth: 1,
        root: Root { key: "cause".into(), descendants_max: 3 },
        function_made_at_ms: Some(MADE_AT),
    }
}

/// An outcome of a run for one enrolment.
fn enrolled(execution: &str, end_user: &str, effects: Vec<Effect>) -> Ended {
    let mut ended = Ended { end_user: Some(end_user.into()), ..ended(execution, effects) };
    ended.execution.enrolment = Some(id(&format!("e-{end_user}")));
    ended
}

/// The same outcome of an execution that was claimed from the queue.
fn claimed(ended: Ended, holder: &str, attempt: u32) -> Ended {
    let mut ended = Ended { origin: Origin::Row(holder.into()), ..ended };
    ended.execution.attempt = attempt;
    ended
}

fn save(end_user: Option<&str>, minor_units: i64, code: &str) -> Effect {
    Effect::Transaction {
        id: format!("t-{minor_units}"),
        end_user: end_user.map(Into::into),
        amount: Amount::from_minor_units(minor_units, currency(code)),
        memo: None,
    }
}

fn set(key: &str, value: &'static str) -> Effect {
    Effect::SetState { key: key.into(), value: value.as_bytes().to_vec().into() }
}

fn delete(key: &str) -> Effect {
    Effect::DeleteState { key: key.into() }
}

fn increment(key: &str, by: i64) -> Effect {
    Effect::IncrementState { key: key.into(), by }
}

fn emit(kind: &str) -> Effect {
    Effect::Emit(Event {
        id: "1".into(),
        source: String::new(),
        kind: kind.into(),
        subject: Some("AIK".into()),
        time: String::new(),
        data_content_type: "application/json".into(),
        data: b"{}".to_vec().into(),
        attributes: BTreeMap::new(),
    })
}

/// The state of `f` itself, or of one of its enrolments.
fn place(enrolment: Option<&str>, key: &str) -> (Scope, String) {
    (Scope { partner: id("acme"), function: id("f"), enrolment: enrolment.map(id) }, key.to_owned())
}

fn stored(number: Option<i64>) -> Option<StateEntry> {
    Some(StateEntry { version: "v1".into(), value: EntryValue::Stored(number) })
}

/// The value to be written under a key of `f` itself.
fn written(commit: &Commit<'_>, key: &str) -> Option<String> {
    match commit.state.get(&place(None, key))? {
        Some(StateEntry { value: EntryValue::Written(value), .. }) => Some(String::from_utf8(value.clone()).unwrap()),
        _ => None,
    }
}

fn why(verdict: CommitResult) -> String {
    match verdict {
        CommitResult::Refused { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

/// End user and amount of each transaction to be written.
fn transactions(commit: &Commit<'_>) -> Vec<(String, i64)> {
    let columns: Vec<&str> = crate::transactions::COLUMNS.split(", ").collect();
    let at = |name: &str| columns.iter().position(|column| *column == name).unwrap();
    let pair = |row: &Vec<Value>| match (&row[at("end_user")], &row[at("amount_minor")]) {
        (Value::Text(end_user), Value::Int(amount)) => (end_user.clone(), *amount),
        other => panic!("{other:?}"),
    };
    commit.rows.transactions.iter().map(pair).collect()
}

#[test]
fn an_outcome_of_a_function_that_is_gone_or_was_made_again_is_dropped() {
    let clock = Clock::manual(NOW);
    for (made_at_ms, expected) in
        [(None, COMMITTED), (Some(MADE_AT), COMMITTED), (Some(MADE_AT + 1), CommitResult::Gone)]
    {
        let mut commit = commit(&clock);
        let of = Ended { function_made_at_ms: made_at_ms, ..ended("x-1", vec![]) };
        assert_eq!(commit.decide(&of), expected, "made at {made_at_ms:?}");
        assert_eq!(commit.rows.inserted.len(), usize::from(expected == COMMITTED));
    }
    let mut commit = commit(&clock);
    commit.functions.clear();
    assert_eq!(commit.decide(&Ended { function_made_at_ms: None, ..ended("x-1", vec![]) }), CommitResult::Gone);
}

#[test]
fn only_the_holder_of_the_present_attempt_is_not_fenced() {
    let clock = Clock::manual(NOW);
    for (row, claim, expected) in [
        // What the database has, and whose outcome it is.
        (None, None, COMMITTED),
        (Some((Some("w1"), 2)), Some(("w1", 2)), COMMITTED),
        (Some((Some("w2"), 2)), Some(("w1", 2)), CommitResult::Fenced),
        (Some((Some("w1"), 3)), Some(("w1", 2)), CommitResult::Fenced),
        (Some((Some("w1"), 1)), Some(("w1", 2)), CommitResult::Fenced),
        (Some((None, 2)), Some(("w1", 2)), CommitResult::Fenced),
        // The row was removed; or it is there already, so this outcome was written before.
        (None, Some(("w1", 2)), CommitResult::Fenced),
        (Some((None, 0)), None, CommitResult::Fenced),
    ] {
        let mut commit = commit(&clock);
        if let Some((holder, attempt)) = row {
            commit.leases.insert((id("acme"), id("x-1")), Lease { holder: holder.map(Into::into), attempt });
        }
        let mut of = ended("x-1", vec![save(Some("kim"), 100, "SEK")]);
        if let Some((holder, attempt)) = claim {
            of = claimed(of, holder, attempt);
        }
        assert_eq!(commit.decide(&of), expected, "{row:?} {claim:?}");
        assert_eq!(commit.rows.transactions.len(), usize::from(expected == COMMITTED), "{row:?} {claim:?}");
    }
}

#[test]
fn a_single_amount_is_within_its_grant() {
    let clock = Clock::manual(NOW);
    for (minor, currency, granted) in
        [(10_000, "SEK", true), (10_001, "SEK", false), (500, "JPY", true), (501, "JPY", false), (1, "USD", false)]
    {
        let mut commit = commit(&clock);
        let verdict = commit.decide(&ended("x-1", vec![save(Some("kim"), minor, currency)]));
        match granted {
            true => assert_eq!((verdict, transactions(&commit)), (COMMITTED, vec![("kim".into(), minor)])),
            false => {
                assert!(why(verdict).contains(&format!("transactions.{currency}")), "{minor} {currency}");
                assert!(commit.rows.transactions.is_empty() && commit.saved.is_empty());
            }
        }
    }
}

#[test]
fn a_sum_counts_what_was_saved_before_in_the_group_and_in_the_same_outcome() {
    let clock = Clock::manual(NOW);
    let account = |end_user: &str| -> Account { (id("acme"), id("f"), end_user.into(), currency("SEK")) };
    let sek = |minor_units| Amount::from_minor_units(minor_units, currency("SEK"));
    // Saved before within the period; amounts of the outcome; may it be?
    for (before, amounts, granted) in [
        (0, &[10_000][..], true),
        (0, &[10_000, 5_000], true),
        (0, &[10_000, 5_001], false),
        (0, &[10_000, 4_999, 1], true),
        (5_000, &[10_000], true),
        (5_001, &[10_000], false),
        (14_999, &[1], true),
        (15_000, &[1], false),
        // Granted less than was saved meanwhile.
        (20_000, &[1], false),
        (i64::MAX, &[1], false),
    ] {
        let mut commit = commit(&clock);
        commit.saved.insert(account("kim"), sek(before));
        let verdict =
            commit.decide(&ended("x-1", amounts.iter().map(|minor| save(Some("kim"), *minor, "SEK")).collect()));
        let after = if granted { before + amounts.iter().sum::<i64>() } else { before };
        assert_eq!(verdict == COMMITTED, granted, "{before} {amounts:?}");
        assert_eq!(commit.saved[&account("kim")], sek(after), "{before} {amounts:?}");
        assert_eq!(commit.rows.transactions.len(), if granted { amounts.len() } else { 0 });
    }

    // Outcome after outcome; what is refused counts for nothing; another end user's sum is another.
    let mut commit = commit(&clock);
    for (end_user, minor, granted) in
        [("kim", 9_000, true), ("kim", 6_001, false), ("lee", 9_000, true), ("kim", 6_000, true), ("kim", 1, false)]
    {
        let verdict = commit.decide(&enrolled("x-1", end_user, vec![save(None, minor, "SEK")]));
        assert_eq!(verdict == COMMITTED, granted, "{end_user} {minor}");
    }
    let all = [("kim", 9_000), ("lee", 9_000), ("kim", 6_000)];
    assert_eq!(transactions(&commit), all.map(|(end_user, minor)| (end_user.to_owned(), minor)));
}

#[test]
fn a_refused_sum_says_what_is_granted_saved_and_asked_for() {
    let clock = Clock::manual(NOW);
    for (code, before, minor, text) in [
        (
            "SEK",
            14_000,
            1_001,
            "150.00 SEK within 7 days for one end user, 140.00 are saved already and this would save 10.01 more",
        ),
        ("JPY", 0, 400, "1000 JPY within 1 day for one end user, 800 are saved already and this would save 400 more"),
        (
            "EUR",
            i64::MAX,
            1,
            "EUR within 30 days for one end user, 92233720368547758.07 are saved already and this would save 0.01",
        ),
    ] {
        let mut commit = commit(&clock);
        let before = Amount::from_minor_units(before, currency(code));
        commit.saved.insert((id("acme"), id("f"), "kim".into(), currency(code)), before);
        let all = if code == "JPY" { vec![minor, minor, minor] } else { vec![minor] };
        let all = all.into_iter().map(|minor| save(Some("kim"), minor, code)).collect();
        let told = why(commit.decide(&ended("x-1", all)));
        assert!(told.contains(text) && told.contains(&format!("transactions.{code}.sum")), "{told}");
    }
}

#[test]
fn what_a_grant_no_longer_has_is_refused_for_good_if_it_came_from_the_queue() {
    let clock = Clock::manual(NOW);
    for effect in [set("k", "1"), delete("k"), increment("k", 1), save(Some("kim"), 1, "SEK"), emit("goal.scored")] {
        for queued in [false, true] {
            let mut commit = commit(&clock);
            function(&mut commit).grants = Some(Grants::default());
            let mut of = ended("x-1", vec![effect.clone()]);
            if queued {
                commit.leases.insert((id("acme"), id("x-1")), Lease { holder: Some("w1".into()), attempt: 1 });
                of = claimed(of, "w1", 1);
            }
            let verdict = commit.decide(&of);
            assert!(
                matches!(verdict, CommitResult::Refused { dead_lettered, .. } if dead_lettered == queued),
                "{effect:?} {verdict:?}"
            );
            let rows = &commit.rows;
            assert_eq!((rows.transactions.len(), rows.events.len(), commit.changed.len()), (0, 0, 0), "{effect:?}");
            assert_eq!((rows.inserted.len(), rows.dead_letters.len()), (usize::from(!queued), usize::from(queued)));
        }
    }
    let mut commit = commit(&clock);
    assert!(why(commit.decide(&ended("x-1", vec![emit("card.purchase")]))).contains("card.purchase"));
}

#[test]
fn a_record_is_where_its_end_belongs() {
    let clock = Clock::manual(NOW);
    let held = || Lease { holder: Some("w1".into()), attempt: 1 };
    let run = |change: fn(&mut Ended)| {
        let mut commit = commit(&clock);
        commit.leases.insert((id("acme"), id("x-1")), held());
        let mut of = claimed(ended("x-1", vec![]), "w1", 1);
        change(&mut of);
        assert_eq!(commit.decide(&of), COMMITTED);
        commit.rows
    };
    let rows = run(|_| {});
    assert_eq!(
        (rows.ended.len(), rows.ended[0].updated_at_ms, rows.ended[0].status),
        (1, NOW, ExecutionStatus::Completed)
    );
    assert_eq!((rows.dead_letters.len(), rows.retried.len(), rows.inserted.len()), (0, 0, 0));
    let rows = run(|of| of.execution.dead_lettered_at_ms = Some(7));
    assert_eq!((rows.ended.len(), rows.dead_letters.len(), rows.dead_letters[0].dead_lettered_at_ms), (0, 1, Some(7)));
    let rows = run(|of| of.retry_at_ms = Some(NOW + 9));
    assert_eq!((rows.ended.len(), rows.retried.len(), rows.retried[0].1), (0, 1, NOW + 9));
}

#[test]
fn a_refusal_is_recorded_as_a_failure_with_its_reason() {
    let clock = Clock::manual(NOW);
    for queued in [false, true] {
        let mut commit = commit(&clock);
        commit.refused = Some("the database refused it");
        let mut of = ended("x-1", vec![save(Some("kim"), 1, "SEK"), set("k", "1"), emit("goal.scored")]);
        if queued {
            commit.leases.insert((id("acme"), id("x-1")), Lease { holder: Some("w1".into()), attempt: 1 });
            of = claimed(of, "w1", 1);
        }
        let refused = CommitResult::Refused { why: "the database refused it".into(), dead_lettered: queued };
        assert_eq!(commit.decide(&of), refused);
        let rows = commit.rows;
        assert_eq!((rows.transactions.len(), rows.events.len(), commit.changed.len()), (0, 0, 0));
        if queued {
            let failed = &rows.dead_letters[0];
            assert_eq!((failed.status, failed.response_status), (ExecutionStatus::Failed, 500));
            assert_eq!((failed.errors.as_str(), failed.dead_lettered_at_ms), ("the database refused it", Some(NOW)));
        } else {
            assert_eq!((rows.inserted.len(), rows.dead_letters.len()), (1, 0));
        }
    }
}

#[test]
fn a_disabled_function_and_a_paused_enrolment_change_nothing_and_can_be_tried_by_hand() {
    let clock = Clock::manual(NOW);
    let paused = "the enrolment was paused or removed";
    let stranger = "end user \"sam\" has no active enrolment";
    // Of each the outcome, and why it is refused, if it is.
    for (enabled, of, refused) in [
        (true, ended("x-1", vec![set("k", "1")]), None),
        (false, ended("x-1", vec![]), None),
        (false, ended("x-1", vec![set("k", "1")]), Some("the function is disabled")),
        (false, enrolled("x-1", "kim", vec![save(None, 1, "SEK")]), Some("the function is disabled")),
        (true, enrolled("x-1", "kim", vec![save(None, 1, "SEK")]), None),
        (true, enrolled("x-1", "sam", vec![]), None),
        (true, enrolled("x-1", "sam", vec![save(None, 1, "SEK")]), Some(paused)),
        (true, enrolled("x-1", "sam", vec![set("k", "1")]), Some(paused)),
        (true, enrolled("x-1", "sam", vec![emit("goal.scored")]), Some(paused)),
        (true, ended("x-1", vec![save(Some("kim"), 1, "SEK"), save(Some("lee"), 1, "SEK")]), None),
        (true, ended("x-1", vec![save(Some("kim"), 1, "SEK"), save(Some("sam"), 1, "SEK")]), Some(stranger)),
    ] {
        let mut commit = commit(&clock);
        function(&mut commit).enabled = enabled;
        match (commit.decide(&of), refused) {
            (CommitResult::Committed { .. }, None) => {}
            (CommitResult::Refused { why, dead_lettered: false }, Some(part)) if why.contains(part) => {
                assert!(commit.rows.transactions.is_empty() && commit.changed.is_empty());
            }
            (verdict, _) => panic!("{of:?}: {verdict:?} instead of {refused:?}"),
        }
    }
    // An enrolment of the same name in another partner is another's.
    let mut commit = commit(&clock);
    commit.active.enrolments = [(id::<PartnerId>("other"), id::<EnrolmentId>("e-kim"))].into();
    assert!(why(commit.decide(&enrolled("x-1", "kim", vec![save(None, 1, "SEK")]))).contains(paused));
}

#[test]
fn a_read_that_would_give_something_else_is_a_conflict() {
    let clock = Clock::manual(NOW);
    let key = |version: Option<&str>| Read::Key { key: "k".into(), version: version.map(Into::into) };
    let list = || Read::List { prefix: String::new(), after: None, limit: 10, seen: vec![] };
    for (what, now, read, stale, expected) in [
        ("the version that it saw", stored(None), key(Some("v1")), false, COMMITTED),
        ("another version", stored(None), key(Some("v0")), false, CommitResult::Conflict),
        ("a value that appeared", stored(None), key(None), false, CommitResult::Conflict),
        ("a value that went", None, key(Some("v1")), false, CommitResult::Conflict),
        ("still nothing", None, key(None), false, COMMITTED),
        ("the same list", None, list(), false, COMMITTED),
        ("another list", None, list(), true, CommitResult::Conflict),
    ] {
        let mut commit = commit(&clock);
        commit.state.insert(place(None, "k"), now);
        if stale {
            commit.stale_lists.insert(id("x-1"));
        }
        commit.stale_lists.insert(id("x-2"));
        let of = Ended { reads: vec![read], ..ended("x-1", vec![save(Some("kim"), 1, "SEK")]) };
        assert_eq!(commit.decide(&of), expected, "{what}");
        assert_eq!(commit.rows.transactions.len(), usize::from(expected == COMMITTED), "{what}");
    }

    // What an outcome of the same group wrote has changed as well, for its own state and no other.
    for (read, same_state) in [(key(None), true), (list(), true), (list(), false)] {
        let mut commit = commit(&clock);
        let first =
            if same_state { ended("x-0", vec![set("k", "1")]) } else { enrolled("x-0", "kim", vec![set("k", "1")]) };
        assert_eq!(commit.decide(&first), COMMITTED);
        let second = Ended { reads: vec![read], ..ended("x-1", vec![]) };
        assert_eq!(commit.decide(&second), if same_state { CommitResult::Conflict } else { COMMITTED });
    }
    // And a run that read what the first one wrote goes on from there.
    let mut commit = commit(&clock);
    assert_eq!(commit.decide(&ended("x-0", vec![set("k", "1")])), COMMITTED);
    let second = Ended { reads: vec![key(Some("x-0"))], ..ended("x-1", vec![set("k", "2")]) };
    assert_eq!(commit.decide(&second), COMMITTED);
    assert_eq!(written(&commit, "k").as_deref(), Some("2"));
}

#[test]
fn state_that_is_locked_is_its_holders() {
    let clock = Clock::manual(NOW);
    let list = || vec![Read::List { prefix: String::new(), after: None, limit: 10, seen: vec![] }];
    for (what, holder, of, expected) in [
        ("a write beside the holder", "x-0", ended("x-1", vec![set("k", "1")]), CommitResult::Conflict),
        ("an increment beside it", "x-0", ended("x-1", vec![increment("k", 1)]), CommitResult::Conflict),
        ("a read beside it", "x-0", Ended { reads: list(), ..ended("x-1", vec![]) }, CommitResult::Conflict),
        ("no state at all", "x-0", ended("x-1", vec![save(Some("kim"), 1, "SEK")]), COMMITTED),
        ("other state", "x-0", enrolled("x-1", "kim", vec![set("k", "1")]), COMMITTED),
        ("the holder itself", "x-1", ended("x-1", vec![set("k", "1")]), COMMITTED),
    ] {
        let mut commit = commit(&clock);
        commit.locks.insert(place(None, "").0, id(holder));
        assert_eq!(commit.decide(&of), expected, "{what}");
    }
    let mut commit = commit(&clock);
    commit.locks.insert(place(None, "").0, id("x-0"));
    let emitting = ended("x-1", vec![emit("goal.scored")]);
    assert_eq!(commit.decide(&emitting), CommitResult::Committed { emitted: true });
}

#[test]
fn increments_add_up_within_64_bits_and_on_whole_numbers_only() {
    let clock = Clock::manual(NOW);
    for (stored_now, effects, expected) in [
        (None, vec![increment("k", 5)], Some("5")),
        (stored(Some(7)), vec![increment("k", 5)], Some("12")),
        (stored(Some(7)), vec![increment("k", -9)], Some("-2")),
        (stored(Some(7)), vec![increment("k", 1), increment("k", 1)], Some("9")),
        (stored(Some(7)), vec![set("k", "40"), increment("k", 2)], Some("42")),
        (stored(Some(7)), vec![delete("k"), increment("k", 2)], Some("2")),
        (stored(Some(i64::MAX - 1)), vec![increment("k", 1)], Some("9223372036854775807")),
        (stored(Some(i64::MAX)), vec![increment("k", 1)], None),
        (stored(Some(i64::MIN)), vec![increment("k", -1)], None),
        (stored(None), vec![increment("k", 1)], None),
        (stored(Some(7)), vec![set("k", "x"), increment("k", 1)], None),
        (stored(Some(7)), vec![set("k", "1.5"), increment("k", 1)], None),
    ] {
        let mut commit = commit(&clock);
        commit.state.insert(place(None, "k"), stored_now);
        let verdict = commit.decide(&ended("x-1", effects.clone()));
        match expected {
            Some(value) => {
                assert_eq!((verdict, written(&commit, "k").as_deref()), (COMMITTED, Some(value)), "{effects:?}");
                assert_eq!(commit.changed, [place(None, "k")].into());
                assert!(commit.state[&place(None, "k")].as_ref().is_some_and(|place| place.version == "x-1"));
            }
            None => {
                assert!(why(verdict).contains("cannot be incremented"), "{effects:?}");
                assert!(commit.changed.is_empty(), "{effects:?}");
            }
        }
    }
    // From outcome to outcome.
    let mut commit = commit(&clock);
    for execution in ["x-1", "x-2"] {
        assert_eq!(commit.decide(&ended(execution, vec![increment("k", 3)])), COMMITTED);
    }
    assert_eq!(written(&commit, "k").as_deref(), Some("6"));
    assert_eq!(commit.decide(&ended("x-3", vec![delete("k")])), COMMITTED);
    assert!(commit.state[&place(None, "k")].is_none() && commit.changed.contains(&place(None, "k")));
    assert_eq!(commit.decide(&ended("x-4", vec![increment("k", 1)])), COMMITTED);
    assert_eq!(written(&commit, "k").as_deref(), Some("1"));
}

#[test]
fn events_are_the_functions_and_as_many_as_their_cause_may_have() {
    let clock = Clock::manual(NOW);
    let mut commit = commit(&clock);
    let emitting = |count: usize| ended("x-1", vec![emit("goal.scored"); count]);
    assert_eq!(commit.decide(&emitting(2)), CommitResult::Committed { emitted: true });
    assert!(why(commit.decide(&emitting(2))).contains("2 events have come of the event"));
    assert_eq!(commit.decide(&emitting(1)), CommitResult::Committed { emitted: true });
    assert!(why(commit.decide(&emitting(1))).contains("of 3 exceeded"));
    // What emits nothing is not affected; another cause counts for itself.
    assert_eq!(commit.decide(&ended("x-2", vec![set("k", "1")])), COMMITTED);
    let other = Ended { root: Root { key: "other".into(), descendants_max: 3 }, ..emitting(3) };
    assert_eq!(commit.decide(&other), CommitResult::Committed { emitted: true });
    assert_eq!(commit.rows.events.len(), 6);

    let Effect::Emit(event) = emit("goal.scored") else { unreachable!() };
    let stored = commit.emitted(&emitting(1), &event);
    assert_eq!((stored.source.as_str(), stored.depth, stored.root.as_deref()), ("/functions/f", 1, Some("cause")));
    assert_eq!((stored.time, stored.created_at_ms), (rfc3339(NOW), NOW));
    assert_eq!(
        (stored.id.as_str(), stored.kind.as_str(), stored.subject.as_deref()),
        ("1", "goal.scored", Some("AIK"))
    );
}

#[test]
fn an_outcome_without_effects_needs_no_grants() {
    let clock = Clock::manual(NOW);
    let mut commit = commit(&clock);
    function(&mut commit).grants = None;
    assert_eq!(commit.decide(&ended("x-1", vec![])), COMMITTED);
}
