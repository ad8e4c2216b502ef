//! Rows as the platform writes them, for tests that work on the store itself. Each has plausible values throughout; a test
//! changes what it is about: `NewExecution { body, ..rows::queued(..) }`.

use larder_model::ids::{EnrolmentId, EventId, ExecutionId, FunctionId, PartnerId};
use larder_model::time::Clock;
use larder_model::{
    Amount, Currency, Effect, Enrolment, EnrolmentStatus, Execution, ExecutionStatus, RequestRecord, StoredEvent,
    Trigger,
};
use larder_store::ledger::{Ended, Origin};
use larder_store::{NewExecution, Root, Wanted};

/// A function by its partner and its id.
pub type Of = (PartnerId, FunctionId);

/// A claim of up to so many executions of a partner.
pub fn wanted(partner: &PartnerId, count: u32) -> [Wanted; 1] {
    [Wanted { partner: partner.clone(), count, stolen: count }]
}

/// An event without data that somebody outside has sent just now.
pub fn event(clock: &Clock, partner: &PartnerId, id: impl Into<String>, kind: &str) -> StoredEvent {
    StoredEvent {
        partner: partner.clone(),
        row: EventId::generate(clock),
        id: id.into(),
        source: "/tests".into(),
        kind: kind.into(),
        subject: None,
        time: "2026-11-21T12:00:00Z".into(),
        data_content_type: "application/json".into(),
        data: vec![].into(),
        attributes: Default::default(),
        depth: 0,
        root: None,
        created_at_ms: clock.now_ms(),
    }
}

/// An active enrolment in the topic `all`.
pub fn enrolment(clock: &Clock, (partner, function): &Of, end_user: &str) -> Enrolment {
    Enrolment {
        partner: partner.clone(),
        id: EnrolmentId::generate(clock),
        function: function.clone(),
        end_user: end_user.into(),
        topic: "all".into(),
        settings: "{}".into(),
        status: EnrolmentStatus::Active,
        paused_by: None,
        created_at_ms: clock.now_ms(),
        updated_at_ms: clock.now_ms(),
    }
}

/// An execution that is due at once.
pub fn queued(clock: &Clock, (partner, function): &Of, trigger: Trigger) -> NewExecution {
    NewExecution {
        partner: partner.clone(),
        id: ExecutionId::generate(clock),
        function: function.clone(),
        trigger,
        trigger_key: None,
        event: None,
        enrolment: None,
        nominal_at_ms: None,
        late_ms: None,
        scheduled_at_ms: None,
        request: RequestRecord::default(),
        body: None,
        now: clock.now_ms(),
    }
}

/// The outcome of a call that completed with these effects.
pub fn outcome(clock: &Clock, (partner, function): &Of, effects: Vec<Effect>) -> Ended {
    let (id, now) = (ExecutionId::generate(clock), clock.now_ms());
    let status = ExecutionStatus::Completed;
    let execution = Execution::new(partner.clone(), id, function.clone(), Trigger::Http, status, now);
    Ended {
        execution,
        origin: Origin::Call,
        retry_at_ms: None,
        reads: vec![],
        effects,
        end_user: None,
        depth: 1,
        root: Root { key: "a call".into(), descendants_max: 100_000 },
        function_made_at_ms: None,
    }
}

/// The outcome of a call that saved these amounts, in öre, for these end users.
pub fn savings(clock: &Clock, of: &Of, amounts: &[(&str, i64)]) -> Ended {
    let mut ended = outcome(clock, of, vec![]);
    let saving = |(at, (end_user, minor_units)): (usize, &(&str, i64))| Effect::Transaction {
        id: format!("{}-{at}", ended.execution.id),
        end_user: Some((*end_user).into()),
        amount: Amount::from_minor_units(*minor_units, Currency::current("SEK").unwrap()),
        memo: None,
    };
    ended.effects = amounts.iter().enumerate().map(saving).collect();
    ended
}
