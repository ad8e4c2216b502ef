//! Saves the saver's stake for each goal of their team.
//!
//! Runs once for each enrolment whose topic is the team that the goal counts for (the event's subject). A transaction
//! cannot be taken back, and goals can: the referee annuls them, the feed corrects who scored. Hence the rules:
//!
//! * only a `confirmed` goal saves, never a `provisional` one;
//! * a goal saves once, however often it is sent again under other event ids;
//! * of what is told about a goal the highest `revision` counts, whatever order it arrives in, so a goal that was
//!   annulled does not save when an older confirmation comes late;
//! * a goal that is annulled after it has saved leaves the saving where it is;
//! * who wants it saves double while their team leads the table, which the aggregator knows. While it does not answer, the
//!   goal waits: nothing of the run is kept, and Larder runs it again later.

use larder_sdk::prelude::*;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Goal {
    /// The same in every event about this goal.
    goal: String,
    /// Counts up with every event about this goal.
    revision: u32,
    status: Status,
    own_goal: bool,
    minute: u16,
    scorer: String,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Provisional,
    Confirmed,
    Annulled,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    stake: Decimal,
    currency: Option<Currency>,
    #[serde(default)]
    double_when_top: bool,
}

/// The table as the aggregator tells it, the leader first.
#[derive(Deserialize)]
struct Standings {
    table: Vec<Standing>,
}

#[derive(Deserialize)]
struct Standing {
    team: String,
}

/// What is known of a goal, kept in state.
#[derive(Default, Serialize, Deserialize)]
struct Known {
    revision: u32,
    saved: bool,
}

fn save_league(event: Event<Goal>, run: &mut Run) -> Result<(), Error> {
    let goal = event.data;
    let key = format!("goal/{}", goal.goal);
    let known: Option<Known> = run.state().get(&key)?;
    if known.as_ref().is_some_and(|known| goal.revision <= known.revision) {
        return Ok(());
    }
    let was_saved = known.is_some_and(|known| known.saved);
    let saves = !was_saved && goal.status == Status::Confirmed && !goal.own_goal;
    run.state().set(&key, &Known { revision: goal.revision, saved: was_saved || saves })?;
    if saves {
        let enrolment = run.enrolment()?;
        let Settings { stake, currency, double_when_top } = enrolment.settings()?;
        let mut stake = Money::new(stake, currency.map_or_else(|| "SEK".parse(), Ok)?);
        if double_when_top && leads(&enrolment.topic, run)? {
            stake = stake.plus(stake)?;
        }
        let scorer: String = goal.scorer.chars().filter(|c| !c.is_control()).take(100).collect();
        run.save(stake.memo(format!("{scorer} scored in minute {}", goal.minute)))?;
    }
    Ok(())
}

fn leads(team: &str, run: &mut Run) -> Result<bool, Error> {
    let standings: Standings = run.get("http://aggregator.upstream/standings")?.json()?;
    Ok(standings.table.first().is_some_and(|first| first.team == team))
}

larder_sdk::function!(save_league);

#[cfg(test)]
mod tests {
    use super::*;
    use larder_sdk::serde_json;
    use larder_sdk::testing::{Ended, TestEvent, TestRun};

    const STANDINGS: &str = "GET http://aggregator.upstream/standings";

    fn fan() -> TestRun {
        TestRun::new().enrolment("anna", "Hammarby", json!({ "stake": "25.00" }))
    }

    fn goal(fan: &mut TestRun, revision: u32, status: &str, own_goal: bool) -> Ended {
        let data = json!({
            "goal": "ham-dju-1", "revision": revision, "status": status, "ownGoal": own_goal, "minute": 12,
            "scorer": "Linnea Berg",
        });
        let event = TestEvent::new("match.goal", data).subject("Hammarby").id(&format!("e-{revision}-{status}"));
        fan.handle(save_league, event)
    }

    #[test]
    fn a_confirmed_goal_saves_the_stake() {
        let ended = fan().handle(save_league, TestEvent::from_json(include_str!("../event.json")));
        assert_eq!(ended.saved(), ["25.00 SEK"]);
        assert_eq!(ended.transactions[0].memo.as_deref(), Some("Linnea Berg scored in minute 12"));
    }

    #[test]
    fn the_stake_may_be_in_another_currency() {
        let mut fan = TestRun::new().enrolment("bo", "Hammarby", json!({ "stake": 3, "currency": "EUR" }));
        assert_eq!(goal(&mut fan, 1, "confirmed", false).saved(), ["3.00 EUR"]);
    }

    #[test]
    fn own_goals_do_not_count_until_corrected() {
        let mut fan = fan();
        assert_eq!(goal(&mut fan, 1, "confirmed", true).saved(), [""; 0]);
        assert_eq!(goal(&mut fan, 2, "confirmed", false).saved(), ["25.00 SEK"]);
    }

    #[test]
    fn a_goal_saves_once_however_often_it_is_corrected() {
        let mut fan = fan();
        assert_eq!(goal(&mut fan, 1, "provisional", false).saved(), [""; 0]);
        assert_eq!(goal(&mut fan, 2, "confirmed", false).saved(), ["25.00 SEK"]);
        for (revision, status) in [(2, "confirmed"), (3, "confirmed"), (4, "annulled"), (5, "confirmed")] {
            assert_eq!(goal(&mut fan, revision, status, false).saved(), [""; 0], "revision {revision} {status}");
        }
    }

    #[test]
    fn an_annulled_goal_does_not_save_even_if_its_confirmation_comes_late() {
        let mut fan = fan();
        assert_eq!(goal(&mut fan, 3, "annulled", false).saved(), [""; 0]);
        assert_eq!(goal(&mut fan, 2, "confirmed", false).saved(), [""; 0]);
        assert_eq!(fan.stored("goal/ham-dju-1"), Some(json!({ "revision": 3, "saved": false })));
    }

    #[test]
    fn who_wants_it_saves_double_while_the_team_leads() {
        let fan = || TestRun::new().enrolment("bo", "Hammarby", json!({ "stake": "25.00", "doubleWhenTop": true }));
        let table = |first: &str| json!({ "table": [{ "team": first, "points": 3 }, { "team": "AIK", "points": 1 }] });
        for (first, saved) in [("Hammarby", "50.00 SEK"), ("Djurgården", "25.00 SEK")] {
            let ended = goal(&mut fan().answers(STANDINGS, 200, table(first)), 1, "confirmed", false);
            assert_eq!((ended.saved(), ended.requests.len()), (vec![saved.to_owned()], 1));
        }
        // Who does not want it asks nobody, and neither does a goal that does not save.
        assert_eq!(goal(&mut self::fan(), 1, "confirmed", false).requests, []);
        assert_eq!(goal(&mut fan(), 1, "provisional", false).saved(), [""; 0]);
    }

    #[test]
    fn while_the_table_cannot_be_had_the_goal_waits() {
        let fan = || TestRun::new().enrolment("bo", "Hammarby", json!({ "stake": "25.00", "doubleWhenTop": true }));
        for mut fan in [fan().unanswered(STANDINGS), fan().answers(STANDINGS, 503, json!(null))] {
            assert!(matches!(goal(&mut fan, 1, "confirmed", false).result, Err(Error::Retry(_))));
            assert_eq!(fan.stored("goal/ham-dju-1"), None);
            let mut fan = fan.answers(STANDINGS, 200, json!({ "table": [] }));
            assert_eq!(goal(&mut fan, 1, "confirmed", false).saved(), ["25.00 SEK"]);
        }
        let refused = goal(&mut fan(), 1, "confirmed", false).result;
        assert!(matches!(refused, Err(Error::Reject(_))), "without the grant: {refused:?}");
    }

    #[test]
    fn a_stake_of_nothing_is_rejected_and_leaves_the_goal_open() {
        let mut fan = TestRun::new().enrolment("bo", "Hammarby", json!({ "stake": "0" }));
        let ended = goal(&mut fan, 1, "confirmed", false);
        assert_eq!(ended.result, Err(Error::reject("cannot save 0.00 SEK: amount \"0.00\" is not more than zero")));
        assert_eq!(fan.stored("goal/ham-dju-1"), None);
    }

    #[test]
    fn the_batch_in_examples_comes_to_what_its_readme_says_in_any_order() {
        let savers: Vec<Value> = serde_json::from_str(include_str!("../../events/savers.json")).unwrap();
        let mut goals: Vec<Value> = serde_json::from_str(include_str!("../../events/goals.json")).unwrap();
        let table = json!({ "table": [{ "team": "Hammarby" }, { "team": "Häcken" }] });
        for _ in 0..2 {
            let (mut count, mut total) = (0, Decimal::ZERO);
            for saver in &savers {
                let double = saver["doubleWhenTop"] == true;
                let settings = json!({ "stake": saver["stake"], "doubleWhenTop": double });
                let (end_user, team) = (saver["endUser"].as_str().unwrap(), saver["team"].as_str().unwrap());
                let mut fan = TestRun::new().enrolment(end_user, team, settings).answers(STANDINGS, 200, &table);
                for goal in goals.iter().filter(|goal| goal["subject"] == saver["team"]) {
                    for saved in fan.handle(save_league, TestEvent::from_json(&goal.to_string())).transactions {
                        count += 1;
                        total += saved.amount.parse::<Decimal>().unwrap();
                    }
                }
            }
            assert_eq!((count, total.to_string().as_str()), (450, "11280.00"));
            goals.reverse();
        }
    }
}
