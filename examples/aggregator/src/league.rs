//! What the server knows: goals as they were told, one item for each revision, and what follows from them.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{SecondsFormat, Utc};
use serde::Serialize;
use serde_json::Value;

/// The matchday that the other examples are tried on, as CloudEvents.
const MATCHDAY: &str = include_str!("../../events/goals.json");

/// Items in the order in which they were told. Nothing is ever changed or taken away: what is corrected is told again
/// under the next revision.
pub struct League(Vec<Value>);

#[derive(Debug, Default, Serialize)]
pub struct Standing {
    pub team: String,
    pub played: u32,
    pub points: u32,
    pub scored: u32,
    pub conceded: u32,
}

impl League {
    pub fn empty() -> League {
        League(Vec::new())
    }

    pub fn matchday() -> League {
        let events: Vec<Value> = serde_json::from_str(MATCHDAY).expect("the matchday is JSON");
        let mut league = League::empty();
        for mut event in events {
            let mut item = event["data"].take();
            item["team"] = event["subject"].take();
            league.tell(item);
        }
        league
    }

    /// Adds an item under the time of this moment; gives it as it is told.
    pub fn tell(&mut self, mut item: Value) -> Value {
        if item.is_object() && item["published"].is_null() {
            item["published"] = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true).into();
        }
        self.0.push(item.clone());
        item
    }

    pub fn items(&self) -> &[Value] {
        &self.0
    }

    /// Each goal by its newest revision.
    fn goals(&self) -> impl Iterator<Item = &Value> {
        let mut newest: BTreeMap<&str, &Value> = BTreeMap::new();
        for item in &self.0 {
            let Some(goal) = item["goal"].as_str() else { continue };
            let known = newest.entry(goal).or_insert(item);
            if item["revision"].as_u64() > known["revision"].as_u64() {
                *known = item;
            }
        }
        newest.into_values()
    }

    /// `Home-Away` of every match that something was told of.
    pub fn fixtures(&self) -> BTreeSet<String> {
        self.0.iter().filter_map(|item| Some(item["match"].as_str()?.to_owned())).collect()
    }

    /// The table: points, then the difference of goals, then goals, then the name.
    pub fn standings(&self) -> Vec<Standing> {
        let mut table: BTreeMap<String, Standing> = BTreeMap::new();
        for fixture in self.fixtures() {
            let Some((home, away)) = fixture.split_once('-') else { continue };
            let confirmed = || self.goals().filter(|goal| goal["match"] == *fixture && goal["status"] == "confirmed");
            let scored = |team: &str| confirmed().filter(|goal| goal["team"] == *team).count() as u32;
            for (team, own, other) in [(home, scored(home), scored(away)), (away, scored(away), scored(home))] {
                let standing = table.entry(team.to_owned()).or_default();
                standing.team = team.to_owned();
                standing.played += 1;
                standing.points += if own > other { 3 } else { u32::from(own == other) };
                standing.scored += own;
                standing.conceded += other;
            }
        }
        let mut table: Vec<Standing> = table.into_values().collect();
        let rank = |s: &Standing| (s.points, i64::from(s.scored) - i64::from(s.conceded), s.scored);
        table.sort_by(|a, b| rank(b).cmp(&rank(a)).then_with(|| a.team.cmp(&b.team)));
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_newest_revision_of_a_confirmed_goal_counts_in_whatever_order_it_was_told() {
        let mut league = League::empty();
        let goal = |goal, revision, team, status| json!({ "goal": goal, "revision": revision, "match": "AIK-Malmö FF", "team": team, "status": status });
        for item in [
            goal("a", 2, "AIK", "confirmed"),
            goal("a", 1, "AIK", "provisional"),
            goal("b", 1, "Malmö FF", "confirmed"),
            goal("b", 2, "Malmö FF", "annulled"),
        ] {
            league.tell(item);
        }
        let table: Vec<_> = league.standings().into_iter().map(|s| (s.team, s.points, s.scored, s.conceded)).collect();
        assert_eq!(table, [("AIK".to_owned(), 3, 1, 0), ("Malmö FF".to_owned(), 0, 0, 1)]);
    }

    #[test]
    fn the_matchday_has_a_table() {
        let league = League::matchday();
        assert_eq!((league.items().len(), league.fixtures().len()), (18, 3));
        let table: Vec<_> = league.standings().into_iter().map(|s| (s.team, s.points)).collect();
        assert_eq!(table[0], ("Hammarby".to_owned(), 3));
    }
}
